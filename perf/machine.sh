#!/usr/bin/env bash
# What a figure was measured on: a figure without this is worth nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "date      $(date -u +%Y-%m-%dT%H:%M:%SZ)"
echo "commit    $(git describe --always --dirty 2>/dev/null || echo unknown)"
echo "cpu       $(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
echo "virtual   $(if grep -qw hypervisor /proc/cpuinfo; then echo yes; else echo no; fi)"
echo "memory    $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
echo "kernel    $(uname -sr)"
echo "rustc     $(rustc --version)"
echo "profile   release: $(sed -n '/^\[profile.release\]/,/^$/{/^[a-z]/p}' Cargo.toml | paste -sd ';' | sed 's/;/; /g')"
echo "load      $(cut -d ' ' -f 1-3 /proc/loadavg) before the run"
