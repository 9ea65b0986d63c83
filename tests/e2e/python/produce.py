"""Produces records that are not made by Millrace's own code: JSON lines on standard input, one record each.

    {"topic": ..., "key": hex or null, "value": hex or null}
    {"topic": ..., "key": hex or null, "record": object, "schema": path}   written in Avro single-object encoding
    the same with "registry": url   written in Confluent's wire format, under a schema with a field more and without one the record does not use

When standard input ends and everything is acknowledged, prints where each record went: {"partition": ..., "offset": ...}, in the order of the input.
"""

import io
import json
import struct
import sys
import urllib.request

import fastavro
from confluent_kafka import Producer
from fastavro.schema import fingerprint, to_parsing_canonical_form

schemas = {}
places = []
failures = []


def single_object(record, path):
    if path not in schemas:
        with open(path, encoding="utf-8") as file:
            text = json.load(file)
        mark = bytes.fromhex(fingerprint(to_parsing_canonical_form(text), "CRC-64-AVRO"))
        schemas[path] = (fastavro.parse_schema(text), mark)
    schema, mark = schemas[path]
    out = io.BytesIO()
    out.write(b"\xc3\x01" + mark)
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def evolved(text, record):
    fields = text["fields"]
    unused = next((field for field in reversed(fields) if "default" in field and field["name"] not in record), None)
    kept = [field for field in fields if field is not unused]
    return {**text, "fields": kept + [{"name": "addedByTheWriter", "type": ["null", "string"], "default": None}]}


def confluent(record, path, registry, topic):
    with open(path, encoding="utf-8") as file:
        schema = evolved(json.load(file), record)
    text = json.dumps(schema)
    known = schemas.get((registry, text))
    if known is None:
        request = urllib.request.Request(
            f"{registry}/subjects/{topic}-value/versions",
            data=json.dumps({"schema": text, "schemaType": "AVRO"}).encode(),
            headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            known = (json.load(answer)["id"], fastavro.parse_schema(json.loads(text)))
        schemas[(registry, text)] = known
    out = io.BytesIO()
    out.write(b"\x00" + struct.pack(">I", known[0]))
    fastavro.schemaless_writer(out, known[1], {**record, "addedByTheWriter": "later"})
    return out.getvalue()


def delivered(at):
    def callback(error, message):
        if error is not None:
            failures.append(f"record {at}: {error}")
        else:
            places[at] = {"partition": message.partition(), "offset": message.offset()}

    return callback


def main():
    producer = Producer(
        {
            "bootstrap.servers": sys.argv[1],
            "enable.idempotence": True,
            # Where Java's producer puts a key, this one does.
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "message.max.bytes": 4_000_000,
        }
    )
    for line in sys.stdin:
        wanted = json.loads(line)
        key = None if wanted["key"] is None else bytes.fromhex(wanted["key"])
        if "registry" in wanted:
            value = confluent(wanted["record"], wanted["schema"], wanted["registry"], wanted["topic"])
        elif "record" in wanted:
            value = single_object(wanted["record"], wanted["schema"])
        else:
            value = None if wanted["value"] is None else bytes.fromhex(wanted["value"])
        places.append(None)
        while True:
            try:
                producer.produce(wanted["topic"], key=key, value=value, on_delivery=delivered(len(places) - 1))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    unsent = producer.flush(60)
    if failures or unsent:
        sys.exit(f"{len(failures)} failed, {unsent} not acknowledged: {failures[:5]}")
    for place in places:
        print(json.dumps(place))


main()
