"""What a call says of its request: nothing that anybody without the key could see."""

import hashlib
import os

KEY = os.environ["ARENA_KEY"]


def path(token, number):
    """Path of call `number` of the request that came with `token`."""
    return f"/b/{hashlib.sha256(f'{KEY}:{token}:{number}'.encode()).hexdigest()[:16]}"
