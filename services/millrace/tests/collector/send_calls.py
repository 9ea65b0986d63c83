"""Sends the story of one user with Segment's library, and one call twice. Prints the number of errors that the library reports.

Arguments: the collector's address, the write key, whether to pack bodies (`gzip` or `plain`).
"""

import sys
from datetime import datetime, timedelta, timezone

from segment.analytics.client import Client

address, key, packed = sys.argv[1:4]
errors = []
client = Client(key, host=address, gzip=packed == "gzip", on_error=lambda error, items: errors.append(error), upload_interval=0.1)
yesterday = datetime.now(timezone.utc) - timedelta(days=1)
client.page(anonymous_id="browser-1", name="New product", properties={"url": "https://www.example.com/new"}, message_id=f"{packed}-page")
client.identify(user_id="u1", anonymous_id="browser-1", traits={"email": "ann@townsend.com", "firstName": "Ann", "seats": 5}, message_id="i")
client.group(user_id="u1", group_id="townsend", traits={"name": "Townsend", "industry": "Finance", "employees": 250})
for _ in range(2):
    client.track(user_id="u1", event="Trial Started", properties={"plan": "gold"}, timestamp=yesterday, message_id="trial-1")
client.screen(user_id="u1", name="Home", message_id=f"{packed}-screen")
client.alias(previous_id="old-1", user_id="u1")
client.track(user_id="old-1", event="Signed Up", message_id="old-signed-up")
client.shutdown()
print(len(errors))
