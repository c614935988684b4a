FROM python:3.11-slim

WORKDIR /srv/headrace
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check --editable . \
    && useradd --system --uid 10001 --no-create-home headrace \
    && install -d -o headrace -g headrace /data

USER headrace
ENV HEADRACE_HOST=0.0.0.0 \
    HEADRACE_PORT=2200 \
    HEADRACE_DATA=/data \
    PYTHONDONTWRITEBYTECODE=1
VOLUME /data
EXPOSE 2200
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$HEADRACE_PORT/health', timeout=2)"

CMD ["headrace", "up"]
