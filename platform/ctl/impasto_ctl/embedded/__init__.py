"""PostgreSQL, Valkey and a server of S3 and SQS as child processes, for a laptop and for tests.

with EmbeddedServers(Path(".impasto")) as servers:
    print(servers.database_url, servers.redis_url, servers.bucket)
"""

from impasto_ctl.embedded.ministack import Bucket, Sqs
from impasto_ctl.embedded.servers import EmbeddedServers

__all__ = ["Bucket", "EmbeddedServers", "Sqs"]
