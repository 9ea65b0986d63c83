"""Reads topics from their beginning to their present end, committed records only, and prints one JSON line a record.

    {"topic": ..., "partition": ..., "offset": ..., "timestamp": ms, "key": hex or null, "headers": [[name, hex], ...], "value": hex or null}

With --registry, values are in Confluent's wire format and read under the schema the registry has of them. With --schema, a value is an Avro single-object of that schema and no other, and is printed in place of its bytes as "record"; instants are milliseconds.
"""

import argparse
import datetime
import io
import json
import struct
import sys
import time
import urllib.request

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from fastavro.schema import fingerprint, to_parsing_canonical_form

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(milliseconds=1)
    raise TypeError(f"{type(value)} is not expected in an output record")


def hexed(data):
    return None if data is None else data.hex()


class Reader:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            text = json.load(file)
        self.head = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(text), "CRC-64-AVRO"))
        self.schema = fastavro.parse_schema(text)

    def read(self, data):
        if data[:10] != self.head:
            sys.exit(f"expected a single object that begins with {self.head.hex()}, found {data[:16].hex()}")
        body = io.BytesIO(data[10:])
        record = fastavro.schemaless_reader(body, self.schema)
        if body.read():
            sys.exit(f"bytes after the record: {data.hex()}")
        return record


class RegistryReader:
    def __init__(self, url):
        self.url = url
        self.schemas = {}

    def read(self, data):
        mark, number = struct.unpack(">bI", data[:5])
        if mark != 0:
            sys.exit(f"expected Confluent's wire format, found {data[:16].hex()}")
        if number not in self.schemas:
            with urllib.request.urlopen(f"{self.url}/schemas/ids/{number}", timeout=30) as answer:
                self.schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
        body = io.BytesIO(data[5:])
        record = fastavro.schemaless_reader(body, self.schemas[number])
        if body.read():
            sys.exit(f"bytes after the record: {data.hex()}")
        return record


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topics", nargs="+")
    parser.add_argument("--schema")
    parser.add_argument("--registry")
    parser.add_argument("--within", type=float, default=60, help="seconds")
    options = parser.parse_args()
    reader = Reader(options.schema) if options.schema else RegistryReader(options.registry) if options.registry else None
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap,
            "group.id": "outside",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    known = consumer.list_topics(timeout=20).topics
    absent = [topic for topic in options.topics if topic not in known]
    if absent:
        sys.exit(f"no such topics: {absent}")
    unread = {(topic, partition) for topic in options.topics for partition in known[topic].partitions}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in unread])
    deadline = time.monotonic() + options.within
    out = sys.stdout
    while unread:
        if time.monotonic() > deadline:
            sys.exit(f"did not come to the end of {sorted(unread)[:5]} within {options.within} s")
        for message in consumer.consume(1000, 0.2):
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:
                    sys.exit(str(error))
                unread.discard((message.topic(), message.partition()))
                continue
            row = {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp": message.timestamp()[1],
                "key": hexed(message.key()),
                "headers": [[name, hexed(value)] for name, value in message.headers() or []],
            }
            value = message.value()
            if reader is not None and value is not None:
                row["record"] = reader.read(value)
            else:
                row["value"] = hexed(value)
            out.write(json.dumps(row, default=plain))
            out.write("\n")
    consumer.close()


main()
