"""HTTP gateway of a Cofactor server: a JSON API that follows from the protobuf messages, and a page.

Start it with `cofactor-web --target HOST:PORT`. docs/web.md describes it.
"""
