"""Reads one static list of a Marketo instance with a client that is not ours and prints one JSON object:

    {"members": [addresses, sorted] or null where there is no such list, "calls": those of the day before this program began, "own": those it made}

Arguments: the instance's address, the list's name.
"""

import json
import sys

from marketorestpython.client import MarketoClient

address, name = sys.argv[1], sys.argv[2]
client = MarketoClient("111-AAA-222", "client", "secret", max_retry_time=20)
client.host = address


def usage():
    return client.execute(method="get_daily_usage")[0]["total"]


before = usage()
lists = client.execute(method="get_multiple_lists", name=[name])
members = None
if lists:
    rows = client.execute(method="get_multiple_leads_by_list_id", listId=lists[0]["id"], fields=["email"])
    members = sorted(row["email"] for row in rows)
print(json.dumps({"members": members, "calls": before - 1, "own": usage() - before + 1}))
