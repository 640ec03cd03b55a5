"""Go's net/rpc with msgpack messages: a header, then the argument or the result, on one stream.

Calls of one stream run at the same time, each on a thread of its own, and are answered in the order
in which they end.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

from goldsmith.errors import GoldsmithError
from goldsmith.plugin.wire import messages
from goldsmith.plugin.wire.errors import ConnectionLost, ProtocolError, RemoteError, WireError
from goldsmith.plugin.wire.yamux import Stream, again, deadline, wait_for

MOST_CALLS: Final = 64
"""How many calls of one stream may run at once; further ones wait to be read."""

Method = Callable[[Any], Any]
"""A method gets the argument and returns the result, both plain data; its error is told as text."""
Service = Mapping[str, Method]
"""The methods of a service by name."""
Log = Callable[[str], None]


class PendingCall:
    """A call whose answer may not be there yet."""

    def __init__(self, method: str) -> None:
        self.method = method
        self._changed = threading.Condition()
        self._error: WireError | None = None
        self._result: Any = None
        self.is_done = False

    def wait(self, timeout_s: float | None = None) -> Any:
        """The result; raises RemoteError, ConnectionLost, TimedOut, and what cancels this thread.

        A call that is not waited for any longer still runs on the other side.
        """
        end_s = deadline(timeout_s)
        with self._changed:
            while not self.is_done:
                wait_for(self._changed, end_s, f"the answer to {self.method}")
        if self._error is not None:
            raise again(self._error)
        return self._result

    def finish(self, result: Any, error: WireError | None = None) -> None:
        """The answer has come, or never will."""
        with self._changed:
            self._result, self._error, self.is_done = result, error, True
            self._changed.notify_all()


class RpcClient:
    """Calls the services of the other side on a stream; for any number of threads."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._next_number = 0
        self._pending: dict[int, PendingCall] = {}
        self._error: WireError | None = None
        threading.Thread(target=self._read, name="rpc-answers", daemon=True).start()

    def start(self, method: str, argument: Any = None) -> PendingCall:
        """Send a call ("Service.Method") without waiting for its answer; raises WireError."""
        body = messages.encode(argument)
        call = PendingCall(method)
        with self._writing:
            with self._lock:
                if self._error is not None:
                    raise again(self._error)
                number = self._next_number
                self._next_number += 1
                self._pending[number] = call
            header = messages.encode({"ServiceMethod": method, "Seq": number})
            self._stream.write(header + body)
        return call

    def call(self, method: str, argument: Any = None, timeout_s: float | None = None) -> Any:
        """Call a method and wait for its result; raises as `start` and `PendingCall.wait` do."""
        return self.start(method, argument).wait(timeout_s)

    def close(self) -> None:
        """Close the stream; calls that are not answered yet fail."""
        self._fail(ConnectionLost("the connection is closed"))
        self._stream.close()

    def _read(self) -> None:
        incoming = messages.Messages(self._stream)
        try:
            while True:
                header, body = incoming.read(), incoming.read()
                self._finish(header, body)
        except EOFError:
            self._fail(ConnectionLost("unexpected EOF"))
        except WireError as e:
            self._fail(e)
        # Whatever ended it, no answer can come any more.
        self._stream.close()

    def _finish(self, header: Any, body: Any) -> None:
        if not isinstance(header, dict):
            raise ProtocolError("the other side sent an answer without a header")
        number, error = header.get("Seq", 0), header.get("Error", "")
        with self._lock:
            call = self._pending.pop(number, None) if isinstance(number, int) else None
        if call is None:
            raise ProtocolError(f"the other side answered a call that nobody made ({number!r:.50})")
        call.finish(body, RemoteError(str(error)) if error else None)

    def _fail(self, error: WireError) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            pending = list(self._pending.values())
            self._pending.clear()
        for call in pending:
            call.finish(None, again(self._error))


class RpcServer:
    """Serves services to the other side of a stream.

    `services` may grow while it serves. `log` is told of defects: exceptions that are no
    GoldsmithError.
    """

    def __init__(self, stream: Stream, services: Mapping[str, Service], log: Log) -> None:
        self._stream = stream
        self._services = services
        self._log = log
        self._writing = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST_CALLS)

    def serve(self) -> None:
        """Answer calls until the other side closes the stream; calls may still run then.

        Raises WireError when the connection breaks or carries something else.
        """
        incoming = messages.Messages(self._stream)
        while True:
            try:
                header, argument = incoming.read(), incoming.read()
            except EOFError:
                return
            if not isinstance(header, dict) or not isinstance(header.get("ServiceMethod"), str):
                raise ProtocolError("the other side sent a call without a header")
            self._room.acquire()
            threading.Thread(
                target=self._run, args=(header, argument), name=header["ServiceMethod"], daemon=True
            ).start()

    def _run(self, header: dict[str, Any], argument: Any) -> None:
        name, number = header["ServiceMethod"], header.get("Seq", 0)
        try:
            self._answer(name, number, argument)
        finally:
            # Not before: answers that a peer does not read must not pile up.
            self._room.release()

    def _answer(self, name: str, number: Any, argument: Any) -> None:
        try:
            error, body = "", messages.encode(self._method(name)(argument))
        except GoldsmithError as e:
            # An error that says nothing would be taken for success.
            error, body = str(e) or type(e).__name__, messages.encode({})
        except (Exception, SystemExit) as e:  # also what an author's sys.exit() does
            self._log(traceback.format_exc())
            error, body = f"{type(e).__name__}: {e}", messages.encode({})
        answer = messages.encode({"ServiceMethod": name, "Seq": number, "Error": error})
        # Who asked may have gone meanwhile: of a cancelled call nobody awaits the answer.
        with contextlib.suppress(WireError), self._writing:
            self._stream.write(answer + body)

    def _method(self, name: str) -> Method:
        service_name, _, method_name = name.rpartition(".")
        service = self._services.get(service_name)
        if service is None:
            raise WireError(f"rpc: can't find service {name}")
        method = service.get(method_name)
        if method is None:
            raise WireError(f"rpc: can't find method {name}")
        return method
