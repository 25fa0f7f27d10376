#!/bin/sh
# What somebody does on a fresh machine that has nothing but the executable: start it, add a user and a project, push.
# Ends when its standard input does, so that others can look at the server while it is up.
set -eu
mkdir -p /etc/rondo
cat >/etc/rondo/config.toml <<'END'
[web]
port = 0
[ssh]
port = 0
[docker]
enabled = false
[local]
enabled = true
END
trap 'code=$?; [ "$code" = 0 ] || cat /var/log/rondo.log' EXIT

mkfifo /run/said
rondo serve >/run/said 2>/var/log/rondo.log &
server=$!
exec 3</run/said
read -r line <&3 # it says where it is when it is ready
echo "$line"
cat <&3 >/dev/null &

mkdir -m 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
rondo user add ada --ssh-key /root/.ssh/id_ed25519.pub
url=$(rondo project create acme/app | sed -n 's/^push to it: git push \(.*\) main$/\1/p')

git init --quiet --initial-branch=main /root/app
cd /root/app
mkdir .circleci
cat >.circleci/config.yml <<'END'
version: 2.1
jobs:
  build:
    machine: true
    steps:
      - checkout
      - run: test -f .circleci/config.yml
      - run: '! command -v python3'
      - run:
          name: Nothing of the executable's own is in the environment
          command: '! env | grep -E "^(LD_LIBRARY_PATH|_PYI|_MEI)"'
workflows:
  main:
    jobs: [build]
END
git add .
git -c user.name=Ada -c user.email=ada@example.org commit --quiet --message 'Begin'
GIT_SSH_COMMAND='ssh -o StrictHostKeyChecking=accept-new' git push -o wait "$url" main 2>&1

echo pushed
cat >/dev/null
kill -TERM "$server"
wait "$server"
echo stopped
