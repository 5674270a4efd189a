"""An aioice agent for the tests beside this file: lines in, lines out (see script.rs).

    aioice_peer.py controlling|controlled ADDRESS...

Beside the lines of every script it says `connected ADDRESS PORT`, naming the pair's far end, and `lost` when consent
expired; it understands `close`.
"""

import asyncio
import sys

import aioice
import aioice.ice

# A tenth of what it has by default, so that nobody waits half a minute for consent to expire.
aioice.ice.CONSENT_INTERVAL = 0.5


def say(text):
    print(text, flush=True)


async def heard(connection):
    try:
        while True:
            say(f"data {(await connection.recv()).hex()}")
    except ConnectionError:
        say("lost")


async def main(role, addresses):
    # It leaves loopback out by itself.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: addresses
    connection = aioice.Connection(ice_controlling=role == "controlling")
    await connection.gather_candidates()
    say(f"credentials {connection.local_username} {connection.local_password}")
    for candidate in connection.local_candidates:
        say(f"candidate {candidate.to_sdp()}")
    say("gathered")
    loop = asyncio.get_running_loop()
    hearing = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, _, rest = line.strip().partition(" ")
        if what == "credentials":
            connection.remote_username, connection.remote_password = rest.split()
        elif what == "candidate":
            await connection.add_remote_candidate(aioice.Candidate.from_sdp(rest))
        elif what == "end":
            await connection.add_remote_candidate(None)
            await connection.connect()
            remote = connection._nominated[1].remote_candidate
            say(f"connected {remote.host} {remote.port}")
            hearing = asyncio.create_task(heard(connection))
        elif what == "send":
            await connection.send(bytes.fromhex(rest))
        elif what == "close":
            hearing.cancel()
            await connection.close()
            say("closed")


asyncio.run(main(sys.argv[1], sys.argv[2:]))
