"""Reads a simulated org with simple-salesforce: argument 1 is the address, 2 the file of a private key. Prints what it saw as JSON.

The client knows https and hosts of Salesforce alone, so its requests are sent to the address by an adapter; it sees nothing of that.
"""
import csv
import io
import json
import sys
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceExpiredSession, SalesforceMalformedRequest, SalesforceResourceNotFound

address, key = sys.argv[1:3]
VERSION = "60.0"


class ToAddress(HTTPAdapter):
    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        request.url = address + parts.path + (f"?{parts.query}" if parts.query else "")
        return super().send(request, **kwargs)


def session():
    made = requests.Session()
    made.mount("https://", ToAddress())
    return made


def refusal(act):
    try:
        act()
    except (SalesforceAuthenticationFailed, SalesforceExpiredSession, SalesforceMalformedRequest, SalesforceResourceNotFound) as error:
        if isinstance(error, SalesforceAuthenticationFailed):
            return error.code
        return error.content[0]["errorCode"]
    return None


def bulk(client, object_name, query, **more):
    pages = list(getattr(client.bulk2, object_name).query(query, max_records=3, **more))
    return [row for page in pages for row in csv.DictReader(io.StringIO(page))], len(pages)


by_secret = {"consumer_key": "client", "consumer_secret": "secret", "domain": "bodea.my", "version": VERSION}
client = Salesforce(session=session(), **by_secret)
by_key = Salesforce(session=session(), username="millrace@bodea.example", consumer_key="client", privatekey_file=key, domain="login", version=VERSION)

plain = "SELECT Id, FirstName, LastName, Email, AccountId, HasOptedOutOfEmail, Score__c FROM Contact ORDER BY Id"
contacts = client.query_all(plain)
everything = client.query_all("SELECT Id, IsDeleted, MasterRecordId FROM Contact ORDER BY Id", include_deleted=True)
rows, pages = bulk(by_key, "Contact", plain)
empty, _ = bulk(by_key, "Contact", "SELECT Id FROM Contact WHERE Email = 'nobody@x.example'")
first = contacts["records"][0]["Id"]
limits = client.limits()
now = datetime.now(timezone.utc)

print(json.dumps({
    "total": contacts["totalSize"],
    "contacts": [{name: value for name, value in record.items() if name != "attributes"} for record in contacts["records"]],
    "everything": [[record["Id"], record["IsDeleted"], record["MasterRecordId"]] for record in everything["records"]],
    "bulk": rows,
    "pages": pages,
    "empty": empty,
    "fields": [[field["name"], field["type"], field["custom"]] for field in client.Contact.describe()["fields"]],
    "objects": [one["name"] for one in client.describe()["sobjects"]],
    "record": client.Contact.get(first)["Email"],
    "deleted": [one["id"] for one in client.Contact.deleted(now - timedelta(hours=1), now + timedelta(minutes=2))["deletedRecords"]],
    "limit": limits["DailyApiRequests"]["Max"],
    "usage": client.api_usage["api-usage"].total,
    "refused": [
        refusal(lambda: Salesforce(session=session(), **{**by_secret, "consumer_secret": "wrong"})),
        refusal(lambda: client.query("SELECT Nothing FROM Contact")),
        refusal(lambda: client.query("SELECT Id FROM")),
        refusal(lambda: client.Contact.get("0035g000000000AAAA")),
        refusal(lambda: Salesforce(session=session(), session_id="old", instance_url="https://bodea.my.salesforce.com", version=VERSION).query(plain)),
    ],
}))
