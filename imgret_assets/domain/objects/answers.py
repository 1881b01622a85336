"""What obstore's errors tell of a store's answer, and the option that an endpoint without TLS needs.

Belongs here: the parts of an answer that may be repeated. Not here: what they mean for images
(`domain.objects.stores`) or for tables (`domain.storage.object_store.bucket`).

No message contains more of an answer than its status and its error code: answers repeat parts of credentials.
"""

import os
import re

# Amazon answers an expired token with 400 and one of these.
EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_CODE = re.compile(r"<Code>(\w{1,64})</Code>")


def error_code(error: Exception) -> str | None:
    """Return the error code of an answer, such as `AccessDenied`; None where it has none."""
    found = _CODE.search(str(error))
    return found[1] if found else None


def allows_http() -> bool:
    """Return whether the environment names an endpoint without TLS: who does so wants none."""
    endpoints = (value for name, value in os.environ.items() if name.startswith("AWS_ENDPOINT"))
    return any(value.startswith("http://") for value in endpoints) or (
        os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"
    )
