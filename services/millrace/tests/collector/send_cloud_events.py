"""Sends events with the SDK of CloudEvents: binary, structured and as a batch. Prints the statuses of the answers.

Arguments: the collector's address, the write key.
"""

import json
import sys

import requests
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

address, key = sys.argv[1:3]


def event(number, data):
    attributes = {"type": "invoice.paid", "source": "/billing ä", "id": f"inv-{number}", "subject": "email:ann@townsend.com"}
    return CloudEvent(attributes=attributes, data=data)


def send(headers, body):
    answer = requests.post(f"{address}/v1/collect", headers=headers, data=body, auth=(key, ""), timeout=30)
    return answer.status_code


binary = to_binary_event(event(1, {"amount": 12.5}))
structured = to_structured_event(event(2, {"amount": 7}))
batch = b"[" + b",".join(JSONFormat().write(event(number, {"amount": number})) for number in (3, 4)) + b"]"
print(json.dumps([
    send(binary.headers, binary.body),
    send(structured.headers, structured.body),
    send({"content-type": "application/cloudevents-batch+json"}, batch),
]))
