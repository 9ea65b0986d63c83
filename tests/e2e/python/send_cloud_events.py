"""Sends CloudEvents to a topic with the SDK of CloudEvents, in the forms of its two generations; makes the topic where it is missing.

Arguments: the brokers, the topic, a list of records as JSON, each of them one of

    {"form": "binary" | "structured", "attributes": object, "data": any}           as the SDK 2 writes it
    {"form": "old-binary" | "old-structured", "attributes": object, "data": any}   as the SDK 1 writes it
    {"headers": object, "value": text or null}                                     as it is, without the SDK

Prints where they went: [{"partition": ..., "offset": ...}].
"""

import json
import sys
from datetime import datetime

from cloudevents.core.bindings import kafka
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1 import kafka as old_kafka
from cloudevents.v1.http import CloudEvent as OldCloudEvent
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

brokers, topic, records = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
OLD = {"old-binary": old_kafka.to_binary, "old-structured": old_kafka.to_structured}
NEW = {"binary": kafka.to_binary_event, "structured": kafka.to_structured_event}


def message(record):
    if "form" not in record:
        value = record["value"]
        return None, record["headers"], None if value is None else value.encode()
    attributes, data = record["attributes"], record["data"]
    if record["form"] in OLD:
        made = OLD[record["form"]](OldCloudEvent(attributes, data))
    else:
        made = NEW[record["form"]](CloudEvent({**attributes, "time": datetime.fromisoformat(attributes["time"])}, data))
    return made.key, made.headers, made.value


def main():
    admin = AdminClient({"bootstrap.servers": brokers})
    if topic not in admin.list_topics(timeout=30).topics:
        admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])[topic].result(30)
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True})
    places = [None] * len(records)

    def delivered(at):
        def callback(error, sent):
            if error is not None:
                sys.exit(f"record {at}: {error}")
            places[at] = {"partition": sent.partition(), "offset": sent.offset()}

        return callback

    for at, record in enumerate(records):
        key, headers, value = message(record)
        producer.produce(topic, key=key, headers=headers, value=value, on_delivery=delivered(at))
    if producer.flush(60):
        sys.exit("not everything is acknowledged")
    print(json.dumps(places))


main()
