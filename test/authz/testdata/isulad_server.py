"""Behaves like the gRPC services of iSulad at a unix socket, with the library that iSulad uses.

isulad_server.py SOCKET: prints, for each call, the method and the metadata username and tls_mode.
"""

import sys
from concurrent import futures

import grpc


def raw(message):
    return message


class Services(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        metadata = dict(details.invocation_metadata)
        print(method, metadata.get("username"), metadata.get("tls_mode"), flush=True)

        def bidirectional(messages, context):
            context.send_initial_metadata((("x-initial", "1"),))
            yield from messages
            context.set_trailing_metadata((("exit_code", "3"),))

        def stream(message, _):
            for _ in range(int(message)):
                yield b"x" * 32768

        def fail(_, context):
            context.abort(grpc.StatusCode.UNKNOWN, "no \u00fc %ut")

        if method in ("Attach", "RemoteExec", "CopyToContainer"):
            return grpc.stream_stream_rpc_method_handler(bidirectional, raw, raw)
        if method in ("Logs", "CopyFromContainer"):
            return grpc.unary_stream_rpc_method_handler(stream, raw, raw)
        if method == "Version":
            return grpc.unary_unary_rpc_method_handler(fail, raw, raw)
        if method == "Wait":
            return grpc.unary_unary_rpc_method_handler(lambda *_: ever.result(), raw, raw)
        if method == "Unknown":
            return None
        return grpc.unary_unary_rpc_method_handler(lambda message, _: message, raw, raw)


ever = futures.Future()
server = grpc.server(futures.ThreadPoolExecutor(32))
server.add_generic_rpc_handlers((Services(),))
server.add_insecure_port("unix:" + sys.argv[1])
server.start()
server.wait_for_termination()
