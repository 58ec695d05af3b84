#!/bin/sh
# A tiny service over two named pipes: answers each line with "pong to <line>".
set -eu
rm -f requests replies service.ready
mkfifo requests
touch replies service.ready
echo "serving"
while true; do
  while read -r line; do
    echo "got $line"
    echo "pong to $line" >> replies
  done < requests
done
