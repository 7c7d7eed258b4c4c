#!/bin/sh
# Random requests by /openapi.json against a server that runs, with a small context and a short --timeout:
#   pip install schemathesis
#   nurture serve --model smollm2-135m-instruct --name base --port 8080 --context 64 --timeout 20 &
#   sh tools/interop/schemathesis.sh http://127.0.0.1:8080 [EXAMPLES] [KEY]
# With the key of an administrator (`NURTURE_ADMIN_KEY=KEY nurture serve ...`) the routes of adapters and keys do what they are asked to.
# No answer may be a 500, and none may have a status, a type or a shape that the document does not name.
set -eu
url=$1 examples=${2:-20} key=${3:-}
exec schemathesis run "$url/openapi.json" --url "$url" ${key:+-H "Authorization: Bearer $key"} --max-examples "$examples" --seed 1 --workers 1 --phases fuzzing \
  --request-timeout 60 \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
