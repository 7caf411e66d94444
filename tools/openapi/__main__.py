"""Write the OpenAPI document of the gateway, which it serves as /openapi.json. `make proto` runs this.

Routes and schemas come from the service descriptors, descriptions from the comments in the .proto files. The document
is committed, because generated Python code has no comments: protoc keeps them only in a descriptor set.
"""

from __future__ import annotations

import json
import sys

from tools.openapi.comments import proto_comments
from tools.openapi.document import build_document

if __name__ == "__main__":
    json.dump(build_document(proto_comments()), sys.stdout, indent=1, ensure_ascii=False)
    print()
