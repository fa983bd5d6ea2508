#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Plays the written HTTP/1 conversations: see README.md.
cd "$(dirname "$0")/../.." || exit 2
exec "${OSP_O:-build}/tests/golden/http1_run" --doc docs/http.md tests/golden/http1/*.txt
