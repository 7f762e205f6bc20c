"""A small HTTP/1.1 server: parsing is h11's, limits and time-outs are its own, what is answered is a handler's."""

from evfn.http.address import Address
from evfn.http.limits import Limits
from evfn.http.messages import Handler, Request, Response, problem
from evfn.http.server import Reporter, Server

__all__ = ["Address", "Handler", "Limits", "Reporter", "Request", "Response", "Server", "problem"]
