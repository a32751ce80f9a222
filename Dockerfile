# iassf_jax on a CPU: docker build -t iassf . ; docs/deploy.md says more.
FROM python:3.12-slim
# What OpenCV's windows and video need.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY iassf_jax iassf_jax
RUN pip install --no-cache-dir .
# Compiled programs are kept here: mount a volume, and the next start is quick.
ENV JAX_COMPILATION_CACHE_DIR=/cache
RUN useradd --create-home --groups video user && mkdir /cache /data && chown user /cache /data
USER user
WORKDIR /data
VOLUME ["/cache"]
ENTRYPOINT ["iassf-jax"]
CMD ["--help"]
