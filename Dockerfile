# The worker with the examples. An application of your own needs the same few lines.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY stem_amqp ./stem_amqp
RUN pip install --no-cache-dir --prefix=/install '.[uvloop]'

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
# The exec form: SIGTERM arrives at the worker itself, which then finishes its tasks.
ENTRYPOINT ["stem-amqp"]
CMD ["--help"]
