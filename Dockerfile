# Images of the server (the default), of the web gateway and of the trainer. None has a compiler or pip, or runs as root.
#   docker build -t cofactor-server .
#   docker run -p 50051:50051 -v "$PWD/models:/models:ro" cofactor-server --insecure-plaintext
# For TLS, replace --insecure-plaintext by --tls-certificate and --tls-key. One of the two is required, because the
# container listens on all interfaces.
#   docker build --target web -t cofactor-web .
#   docker run -p 8080:8080 cofactor-web --target SERVER:50051
#   docker build --target trainer -t cofactor-trainer .
#   docker run -v "$PWD:/work" --user "$(id -u)" cofactor-trainer --dataset ratings.csv --columns user,item,rating --name shop
# The server's image has ONNX Runtime for the CPU and the extras jwt, s3, signing and telemetry. With
# --build-arg REQUIREMENTS=requirements/server-approximate.txt it has faiss too; with requirements/server-cuda.txt it has
# ONNX Runtime for CUDA, and runs with --gpus all.
# BASE is Debian with Python 3.11 or later. Production pins it by digest, so that a tag that moves changes nothing:
#   docker build --build-arg BASE=docker.io/library/python:3.12-slim@sha256:... -t cofactor-server .
# The root file system may be read-only: server and trainer need a writable /tmp, the gateway needs none.
# The locks name every package, so pip does not look for dependencies: old versions of it refuse `pydantic[email]` in a
# lock with hashes. `pip check` proves that nothing is missing.
ARG BASE=docker.io/library/python:3.12-slim

FROM ${BASE} AS wheel
WORKDIR /build
COPY requirements/build.txt pyproject.toml README.md LICENSE ./
COPY proto/ proto/
COPY trainer/ trainer/
COPY server/ server/
COPY client/cofactor_client/ client/cofactor_client/
COPY client/web/cofactor_web/ client/web/cofactor_web/
RUN python3 -m venv /opt/hatchling \
 && /opt/hatchling/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r build.txt \
 && /opt/hatchling/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist .

FROM ${BASE} AS trainer-environment
WORKDIR /build
COPY requirements/trainer.txt requirements/trainer.txt
RUN python3 -m venv /opt/cofactor \
 && /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements/trainer.txt
COPY --from=wheel /build/dist/ dist/
RUN /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/*.whl \
 && /opt/cofactor/bin/pip check \
 && /opt/cofactor/bin/pip uninstall --yes --quiet pip

FROM ${BASE} AS trainer
COPY --from=trainer-environment /opt/cofactor /opt/cofactor
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cofactor
USER 10001
# HOME is for the caches of libraries, whichever user runs it.
ENV PATH=/opt/cofactor/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
# Ratings are read from here, and models/ is written here.
WORKDIR /work
ENTRYPOINT ["cofactor-train"]

FROM ${BASE} AS web-environment
WORKDIR /build
COPY requirements/web.txt requirements/web.txt
RUN python3 -m venv /opt/cofactor \
 && /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r requirements/web.txt
COPY --from=wheel /build/dist/ dist/
RUN /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/*.whl \
 && /opt/cofactor/bin/pip check \
 && /opt/cofactor/bin/pip uninstall --yes --quiet pip

FROM ${BASE} AS web
COPY --from=web-environment /opt/cofactor /opt/cofactor
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cofactor
USER 10001
ENV PATH=/opt/cofactor/bin:$PATH PYTHONUNBUFFERED=1
EXPOSE 8080
# The gateway itself. It is healthy while its server is away: a restart would not help.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python3", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/healthz', timeout=3)"]
ENTRYPOINT ["cofactor-web", "--host", "0.0.0.0"]
STOPSIGNAL SIGTERM

FROM ${BASE} AS server-environment
WORKDIR /build
ARG REQUIREMENTS=requirements/server.txt
COPY requirements/ requirements/
RUN python3 -m venv /opt/cofactor \
 && /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes -r ${REQUIREMENTS}
COPY --from=wheel /build/dist/ dist/
RUN /opt/cofactor/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps dist/*.whl \
 && /opt/cofactor/bin/pip check \
 && /opt/cofactor/bin/pip uninstall --yes --quiet pip

FROM ${BASE} AS server
COPY --from=server-environment /opt/cofactor /opt/cofactor
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cofactor
USER 10001
ENV PATH=/opt/cofactor/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
EXPOSE 50051
# With TLS, set COFACTOR_TLS_CA, and COFACTOR_ADDRESS to a name in the certificate; or give another --health-cmd.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["cofactor", "health", "--timeout", "3"]
# Neither TLS nor plaintext is the default: the command of `docker run` must choose one.
ENTRYPOINT ["cofactor-serve", "--models", "/models", "--host", "0.0.0.0"]
STOPSIGNAL SIGTERM
