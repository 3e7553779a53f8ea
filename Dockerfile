# The worker with the examples. Use the same lines for your own application.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY stem_amqp ./stem_amqp
RUN pip install --no-cache-dir --prefix=/install '.[prometheus,tls,uvloop]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin stem
COPY --from=build /install /usr/local
WORKDIR /app
COPY examples ./examples
COPY topology ./topology
ENV PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER stem
# The exec form: the worker itself receives SIGTERM, and then finishes its tasks.
ENTRYPOINT ["stem-amqp"]
CMD ["--help"]
