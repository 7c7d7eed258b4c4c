#!/bin/sh
# Random requests by /openapi.json against a server that runs, with a small context and a short --timeout:
#   pip install schemathesis
#   nurture serve --model smollm2-135m-instruct --name base --port 8080 --context 64 --timeout 20 &
#   sh tools/interop/schemathesis.sh http://127.0.0.1:8080 [EXAMPLES]
# No answer may be a 500, and none may have a status, a type or a shape that the document does not name.
set -eu
exec schemathesis run "$1/openapi.json" --url "$1" --max-examples "${2:-20}" --seed 1 --workers 1 --phases fuzzing \
  --request-timeout 60 \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
