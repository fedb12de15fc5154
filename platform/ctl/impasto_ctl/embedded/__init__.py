"""PostgreSQL, Valkey and an S3 server as child processes, for a laptop and for tests.

with EmbeddedServers(Path(".impasto")) as servers:
    print(servers.database_url, servers.redis_url, servers.bucket)
"""

from impasto_ctl.embedded.ministack import Bucket
from impasto_ctl.embedded.servers import EmbeddedServers

__all__ = ["Bucket", "EmbeddedServers"]
