"""`evfn emit`: publish one event, or a file of them."""

import asyncio
import json
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from itertools import batched
from typing import IO, Any, Protocol

import click

from evfn.broker.connection import Connection
from evfn.broker.instances import Instances
from evfn.broker.keys import Keys
from evfn.broker.publish import Publication, Published, publish_many
from evfn.errors import BrokerError, InvalidData, UsageError
from evfn.event import Event, encode, parse
from evfn.nearest import did_you_mean
from evfn.topic import Pattern, check_name, is_pattern
from evfn_cli import ndjson
from evfn_cli.opened import Opened, open_project
from evfn_cli.options import common
from evfn_cli.render import escape, out, say
from evfn_cli.server import again, connected

SOURCE = "evfn/cli"
CHUNK = 500
_TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8", "bytes": "application/octet-stream"}
