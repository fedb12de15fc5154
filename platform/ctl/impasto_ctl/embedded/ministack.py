"""ministack, an emulator of S3, SQS, IAM and STS that keeps its data on disk.

It is no Amazon S3, and its root key works with any secret. So the application is handed a user of its own,
whose signature is checked and who may do nothing but use its bucket and queues.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from impasto_ctl.errors import NotInstalled
from impasto_ctl.process import Child
from impasto_ctl.state import StateDirectory, lock_for_child

REGION = "us-east-1"
USER = "impasto-app"
_ROOT_KEY = "test"


@dataclass(frozen=True)
class Bucket:
    """Where images are kept, and the key to it; no key means the machine's own AWS identity."""

    name: str
    region: str
    endpoint_url: str
    access_key_id: str | None
    secret_access_key: str | None


@dataclass(frozen=True)
class Sqs:
    """Where queues are, and the key to them; no key means the machine's own AWS identity."""

    region: str
    endpoint_url: str
    access_key_id: str | None
    secret_access_key: str | None


class Ministack:
    """`durable=False` keeps everything in memory: for tests."""

    def __init__(self, state: StateDirectory, *, durable: bool, bucket: str) -> None:
        self._state = state
        self._durable = durable
        self._bucket = bucket
        self._folder = state.folder("ministack")

    def start(self) -> None:
        if importlib.util.find_spec("ministack") is None:
            raise NotInstalled(
                "No S3 or SQS server found. Install `impasto-ctl[embedded]`, or point IMPASTO_S3_ENDPOINT_URL"
                " and IMPASTO_SQS_ENDPOINT_URL at servers that run."
            )
        with lock_for_child(self._folder, "ministack") as lock:
            self._port = self._state.port("ministack")
            self.child = Child(
                "ministack",
                [sys.executable, "-m", "ministack"],
                log=self._state.new_log("ministack"),
                environ=self._environ(),
                folder=self._folder,
                death_signal=signal.SIGTERM,  # It writes its state to disk first.
                keep_open=[lock],
            )

    @property
    def _endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def wait_until_ready(self) -> None:
        s3 = self._root_client("s3")
        self.child.wait_until(lambda: _answers(s3), within=30)
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=self._bucket)
        access_key_id, secret_access_key = self._access_key()
        self.bucket = Bucket(self._bucket, REGION, self._endpoint_url, access_key_id, secret_access_key)
        self.sqs = Sqs(REGION, self._endpoint_url, access_key_id, secret_access_key)

    def _environ(self) -> dict[str, str]:
        """Nothing is inherited but what Python needs: ministack listens to dozens of variables."""
        inherited = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
        keep = "1" if self._durable else "0"
        return {name: os.environ[name] for name in inherited if name in os.environ} | {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": REGION,
            "SERVICES": "s3,sqs,iam,sts",
            "AUTH": "true",
            "S3_PERSIST": keep,
            "S3_DATA_DIR": str(self._folder / "objects"),
            "PERSIST_STATE": keep,
            "STATE_DIR": str(self._folder / "state"),
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            # It would remove containers it takes for its own, and open a port for devices to every network.
            "DOCKER_HOST": f"unix://{self._folder}/no-docker",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
        }

    def _access_key(self) -> tuple[str, str]:
        """The application's key: the remembered one where ministack still knows it, else a new one.

        ministack writes users to disk only when it stops in peace, so after a crash it may know nobody.
        """
        iam = self._root_client("iam")
        if USER not in (user["UserName"] for user in iam.list_users()["Users"]):
            iam.create_user(UserName=USER)
        iam.put_user_policy(UserName=USER, PolicyName="application", PolicyDocument=self._policy())
        known = [key["AccessKeyId"] for key in iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]]
        key_id, secret = self._state.recall("s3_access_key_id"), self._state.recall("s3_secret_access_key")
        if key_id is None or secret is None or key_id not in known:
            for stale in known:
                iam.delete_access_key(UserName=USER, AccessKeyId=stale)
            key = iam.create_access_key(UserName=USER)["AccessKey"]
            key_id, secret = str(key["AccessKeyId"]), str(key["SecretAccessKey"])
            self._state.remember(s3_access_key_id=key_id, s3_secret_access_key=secret)
        return key_id, secret

    def _policy(self) -> str:
        objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        # As docs/operations.md has them. The asterisks are for batches, which to Amazon are no other actions.
        queues = [
            "sqs:CreateQueue",
            "sqs:GetQueueUrl",
            "sqs:GetQueueAttributes",
            "sqs:SendMessage*",
            "sqs:ReceiveMessage",
            "sqs:ChangeMessageVisibility*",
            "sqs:DeleteMessage",
        ]
        return json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {"Effect": "Allow", "Action": objects, "Resource": f"arn:aws:s3:::{self._bucket}/*"},
                    {
                        "Effect": "Allow",
                        "Action": "s3:ListBucket",
                        "Resource": f"arn:aws:s3:::{self._bucket}",
                    },
                    {"Effect": "Allow", "Action": queues, "Resource": "arn:aws:sqs:*:*:*"},
                ],
            }
        )

    def _root_client(self, service: Literal["iam", "s3"]) -> Any:
        # Imported late: it takes 0.2 s, which ministack needs to start anyway.
        import boto3
        from botocore.config import Config

        return boto3.client(
            service,
            endpoint_url=self._endpoint_url,
            region_name=REGION,
            aws_access_key_id=_ROOT_KEY,
            aws_secret_access_key=_ROOT_KEY,
            config=Config(
                connect_timeout=2,
                read_timeout=10,
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
            ),
        )


def _answers(s3: Any) -> bool:
    from botocore.exceptions import ConnectionError as NotReachable
    from botocore.exceptions import HTTPClientError

    try:
        s3.list_buckets()
    except (NotReachable, HTTPClientError):
        return False
    return True
