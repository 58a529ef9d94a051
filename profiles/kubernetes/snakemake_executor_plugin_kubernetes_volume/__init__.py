"""Snakemake's Kubernetes executor on one volume that the command and its jobs share.

The executor ``kubernetes`` takes it for granted that nothing is shared: it copies sources and files
through an object store and installs a storage plugin in every pod. Runs of this book leave more
than the files that a rule names (executed notebooks, memoised results, progress), so they need a
volume. This executor, ``kubernetes-volume``, submits the same jobs, with these differences:

- the volume holds the book at the same path everywhere, and a job works where the command does;
- a job runs the image's own ``python``, and nothing is installed in a pod;
- the log of a failed pod is read as that of a container that was never restarted.
"""

from __future__ import annotations

import dataclasses
import shlex
from typing import Any

import kubernetes.client
from snakemake_executor_plugin_kubernetes import Executor as KubernetesExecutor
from snakemake_executor_plugin_kubernetes import ExecutorSettings as KubernetesSettings
from snakemake_executor_plugin_kubernetes import common_settings as kubernetes_settings


class ExecutorSettings(KubernetesSettings):
    """The settings of the executor ``kubernetes``."""


common_settings = dataclasses.replace(
    kubernetes_settings,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    auto_deploy_default_storage_provider=False,
    spawned_jobs_assume_shared_fs=True,
)


class _Core(kubernetes.client.CoreV1Api):
    """The API of pods; logs of containers that were restarted are never asked for.

    A server answers such a request with an error where there was no restart, and that error would
    end the whole call.
    """

    def read_namespaced_pod_log(self, name: str, namespace: str, **options: Any) -> str:
        """Return what the container of a pod has printed."""
        options.pop("previous", None)
        return super().read_namespaced_pod_log(name, namespace, **options)


class Executor(KubernetesExecutor):
    """Submits jobs whose working folder lies on a shared volume."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.kubeapi = _Core()

    def get_python_executable(self) -> str:
        """Return the interpreter of the image."""
        return "python"

    def get_job_exec_prefix(self, job: Any) -> str:
        """Return the command that enters the working folder of the call."""
        return f"cd {shlex.quote(str(self.workflow.workdir_init))}"
