"""Reads one static list with a client that is not ours and prints the addresses of its members as a JSON array.

Arguments: the instance's address, the list's name.
"""

import json
import sys

from marketorestpython.client import MarketoClient

address, name = sys.argv[1], sys.argv[2]
client = MarketoClient("111-AAA-222", "client", "secret", max_retry_time=20)
client.host = address
lists = client.execute(method="get_multiple_lists", name=[name])
members = client.execute(method="get_multiple_leads_by_list_id", listId=lists[0]["id"], fields=["email"])
print(json.dumps(sorted(member["email"] for member in members)))
