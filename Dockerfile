# One image with both static programs and the TLS root certificates, and nothing else. `image/debian` builds the same image
# without a daemon, with a directory instead of the first stage.

# Cross-compiles on the build machine's architecture, without emulation.
FROM --platform=$BUILDPLATFORM docker.io/library/debian:trixie-slim AS build
ARG TARGETARCH
WORKDIR /project
COPY image/toolchain image/
RUN image/toolchain "$TARGETARCH"
COPY . .
RUN image/rootfs /rootfs "$TARGETARCH"

FROM scratch AS image
COPY --from=build /rootfs /
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vpn-operator" \
      org.opencontainers.image.description="Kubernetes operator for customer gateways and VPN users of Huawei Cloud and Open Telekom Cloud" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
# Freed memory goes back to the system: lists of many objects need much for a moment. The benchmark shows the effect.
ENV GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.top_pad=65536:glibc.malloc.trim_threshold=65536:glibc.malloc.mmap_threshold=32768
# Numeric, so that the kubelet can verify runAsNonRoot.
USER 65532:65532
# The image also contains /vpn-simulator.
ENTRYPOINT ["/vpn-operator"]
