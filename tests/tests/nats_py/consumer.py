"""Reads a stream with nats-py and prints each record as a line of JSON.

nats-py hands headers over as a dict, in which only the last of several lines of one name is left, so the
bytes that it was given are printed too.

    consumer.py URL STREAM COUNT
"""

import asyncio
import json
import sys

from nats.aio.client import Client


class Seeing(Client):
    """nats-py's client, which keeps the header block that it is about to parse."""

    async def _process_headers(self, headers):
        self.block = bytes(headers or b"")
        return await super()._process_headers(headers)

    def _build_message(self, sid, subject, reply, data, headers):
        message = super()._build_message(sid, subject, reply, data, headers)
        self.blocks[message.reply] = self.block
        return message


async def main(url, stream, count):
    client = Seeing()
    client.blocks = {}
    client.block = b""
    await client.connect(url)
    subscription = await client.jetstream().pull_subscribe("", stream=stream, durable="reader")
    for _ in range(count):
        (message,) = await subscription.fetch(1, timeout=90)
        await message.ack()
        record = {
            "subject": message.subject,
            "headers": message.headers,
            "block": client.blocks[message.reply].hex(),
            "payload": message.data.hex(),
        }
        print(json.dumps(record), flush=True)
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
