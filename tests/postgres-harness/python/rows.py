"""The rows of a query, as psycopg reads them: JSON, a list of lists of texts; null for null.

rows.py PORT DATABASE QUERY
"""

import json
import sys

import psycopg

port, database, query = sys.argv[1:]
with psycopg.connect(host="127.0.0.1", port=int(port), dbname=database, user="postgres") as connection:
    connection.execute("SET TimeZone = 'UTC'")
    rows = connection.execute(query).fetchall()
print(json.dumps([[None if value is None else str(value) for value in row] for row in rows]))
