"""Reads a Marketo instance with a client that is not ours, changes it, and prints what it saw as one JSON object.

Arguments: the instance's address, the id of a list in it, the ids of leads separated by commas.
"""

import csv
import io
import json
import sys
import time

from marketorestpython.client import MarketoClient

address, list_id, lead_ids = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
SINCE, UNTIL = "2020-01-01T00:00:00Z", "2020-01-31T00:00:00Z"

client = MarketoClient("111-AAA-222", "client", "secret", max_retry_time=20)
client.host = address


def call(method, **arguments):
    return client.execute(method=method, **arguments)


def extract(start, end):
    """The rows of a bulk extract of leads."""
    filters = {"createdAt": {"startAt": start, "endAt": end}}
    job = call("create_leads_export_job", fields=["id", "email", "firstName", "title"], filters=filters)[0]["exportId"]
    call("enqueue_leads_export_job", job_id=job)
    while call("get_leads_export_job_status", job_id=job)[0]["status"] != "Completed":
        time.sleep(0.1)
    file = None
    while file is None or isinstance(file, dict):
        try:
            file = call("get_leads_export_job_file", job_id=job)
        except Exception:  # Not there yet: the client expects JSON where the file is missing.
            time.sleep(0.1)
    return list(csv.DictReader(io.StringIO(file.decode("utf-8"), newline="")))


seen = {}
fields = ["id", "email", "firstName", "company", "updatedAt"]
seen["leads"] = call("get_multiple_leads_by_filter_type", filterType="id", filterValues=lead_ids, fields=fields)
seen["visits"] = call("get_lead_activities", activityTypeIds=["1"], sinceDatetime=SINCE)
seen["lists"] = call("get_multiple_lists")
seen["members"] = call("get_multiple_leads_by_list_id", listId=list_id)
seen["extract"] = extract(sys.argv[4], sys.argv[5])
seen["empty"] = extract(SINCE, UNTIL)

created = call("create_update_leads", leads=[{"email": "new@townsend.example", "firstName": "New"}], lookupField="email")
seen["created"] = created[0]["status"]
new = created[0]["id"]
seen["added"] = call("add_leads_to_list", listId=list_id, id=[new])[0]["status"]
seen["removed"] = call("remove_leads_from_list", listId=list_id, id=[new])[0]["status"]
seen["deleted"] = call("delete_lead", id=[new])[0]["status"]
seen["deletions"] = call("get_deleted_leads", sinceDatetime=SINCE)
seen["changes"] = call("get_lead_changes", fields=["firstName", "title"], sinceDatetime=SINCE)
seen["new"] = new
print(json.dumps(seen))
