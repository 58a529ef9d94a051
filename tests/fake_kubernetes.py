"""A Kubernetes API on the loopback interface that keeps what is posted and runs each job as a process."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


class Cluster:
    """Jobs, secrets and processes of one namespace; the image's ``python`` is the one that runs this.

    A job's process gets the environment of its container, nothing of the caller's, and starts in an
    empty folder; the volume is the machine's own file system.

    Parameters
    ----------
    folder
        Where the working folders and logs of jobs go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: dict[str, dict[str, Any]] = {}
        self.secrets: dict[str, dict[str, str]] = {}
        self.deleted: list[str] = []
        self.asked: set[tuple[str, str]] = set()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True)

    def start(self, job: dict[str, Any]) -> None:
        """Run the container of a job."""
        name = job["metadata"]["name"]
        self.jobs[name] = job
        (container,) = job["spec"]["template"]["spec"]["containers"]
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": str(self.folder)}
        for variable in container["env"]:
            source = variable["valueFrom"]["secretKeyRef"]
            value = self.secrets[source["name"]][source["key"]]
            environment[variable["name"]] = base64.b64decode(value).decode()
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*container["command"], *container["args"]],
                cwd=tempfile.mkdtemp(dir=self.folder),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def code(self, name: str) -> int | None:
        """Exit code of a job; None while it runs."""
        return self.processes[name].poll()

    def log(self, name: str) -> str:
        """What a job has printed."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8")

    def delete(self, name: str) -> None:
        """End a job and forget it."""
        self.deleted.append(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, signal.SIGKILL)
        self.processes[name].wait()

    def pod(self, name: str) -> dict[str, Any]:
        """Describe the pod of a job as the API does."""
        code = self.code(name)
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        status = {"name": "snakemake", "image": "i", "imageID": "i", "ready": code is None,
                  "restartCount": 0, "state": state}  # fmt: skip
        return {"metadata": {"name": f"{name}-pod"}, "status": {"containerStatuses": [status]}}


class _Handler(BaseHTTPRequestHandler):
    cluster: Cluster

    def _answer(self, content: Any, code: int = 200) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if isinstance(content, str) else "application/json")
        self.end_headers()
        self.wfile.write(text.encode())

    def _body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")

    def _parts(self, verb: str) -> list[str]:
        """Split the path behind the namespace, and note what was asked for."""
        parts = urlsplit(self.path).path.split("/namespaces/", 1)[1].split("/")[1:]
        resource = "/".join(parts[::2])
        self.cluster.asked.add((verb if len(parts) > 1 or verb != "get" else "list", resource))
        return parts

    def do_POST(self) -> None:
        body = self._body()
        (kind,) = self._parts("create")
        if kind == "secrets":
            self.cluster.secrets[body["metadata"]["name"]] = body.get("data", {})
        else:
            assert kind == "jobs", self.path
            self.cluster.start(body)
        self._answer(body, 201)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        parts = self._parts("get")
        if parts[-1] == "status":
            name = parts[-2]
            code = self.cluster.code(name)
            status = {} if code is None else {"failed": 1} if code else {"succeeded": 1}
            self._answer({**self.cluster.jobs[name], "status": status})
        elif parts[-1] == "pods":
            name = query["labelSelector"][0].removeprefix("job-name=")
            self._answer({"kind": "PodList", "items": [self.cluster.pod(name)]})
        elif parts[-1] == "log" and "previous" in query:
            self._answer({"message": "previous terminated container not found"}, 400)
        else:
            assert parts[-1] == "log", self.path
            self._answer(self.cluster.log(parts[-2].removesuffix("-pod")))

    def do_DELETE(self) -> None:
        self._body()
        kind, name = self._parts("delete")
        if kind == "jobs":
            self.cluster.delete(name)
        elif kind == "secrets":
            del self.cluster.secrets[name]
        self._answer({"kind": "Status", "status": "Success"})

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@contextlib.contextmanager
def serve(folder: Path):
    """Serve a cluster; yields it and the path of a configuration that points to it."""
    cluster = Cluster(folder)
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }
    path = folder / "kubeconfig.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        yield cluster, path
    finally:
        for name in cluster.processes:
            cluster.delete(name)
        server.shutdown()
        thread.join()
        server.server_close()
