# make run     the three services, a demonstration smarthost and the console, in the foreground
# make test    the tests
# make faults  crashes, power cuts, failing disks, load and attack: hours, as root; see docs/reliability.md
# make fuzz    octets of all kinds for the receiver, for five minutes: make fuzz FUZZ="--minutes 60"
# make portable the contract and service tests, without the calls that only Linux has
# make testssl the encryption of the receiver, looked at by testssl for some minutes
# make check   everything that .ci/run checks
# make peers   mail programs and tools that some tests need, or are skipped (Debian, Ubuntu; as root)
# make bench   us and Postfix side by side, about eight minutes; see bench/RESULTS.md
# make pictures the pictures in docs/console.md, made by the tests in a browser
# make docs    the pages that are made from declarations: reference, example settings, manual pages

PYTHON ?= python3
# Tests wait a good part of their time: three at a time keep two processors busy.
PYTEST_ARGS ?= -n 3 --dist worksteal
BIN := .venv/bin
READY := .venv/.ready
TRIAL := build/trial
PEERS := chromium chromium-driver clamav-daemon clamav-milter dovecot-core e2fsprogs eatmydata fail2ban faketime fish groff iproute2 jq libmail-dkim-perl libnet-ssleay-perl libsasl2-modules mount msmtp opendkim openssl pgbouncer postfix postgresql prometheus \
	procmail procps python3-milter rspamd s-nail shellcheck spamass-milter strace swaks systemd testssl.sh xfsprogs zsh

# The server for the tests of the PostgreSQL store, where make peers could not install one.
POSTGRES_SERVER = $(shell ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || \
	echo --group postgres-server)

.PHONY: run test portable faults pictures fuzz testssl check lint types imports package docs bench peers clean

# With SMARTHOST=host:port mail goes there, else to a smarthost that only shows it.
# RECEIVER_PORT, SMARTHOST_PORT and CONSOLE_PORT are for machines where 2525 or 2526 is in use: a service then ends with status 69.
run: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" SMARTHOST="$(SMARTHOST)" EMAILRELAY_LOG_FORMAT=$${EMAILRELAY_LOG_FORMAT:-logfmt} \
		$(BIN)/honcho start $(if $(SMARTHOST),receiver filterd forwarder console) || { status=$$?; [ $$status -ne 69 ] || \
		echo "To use other ports than 2525 and 2526: make run RECEIVER_PORT=3525 SMARTHOST_PORT=3526" >&2; exit $$status; }

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The long form of tests/faults (about two hours, as root); figures come to build/faults.txt. See docs/reliability.md.
# make faults FAULTS=short runs a little of each, in about ten minutes.
FAULTS ?= long
faults: $(READY)
	FAULTS=$(FAULTS) $(BIN)/python -m pytest $(FAULTS_ARGS) tests/faults

pictures: $(READY)
	CONSOLE_SCREENSHOTS="$(CURDIR)/docs/console" $(BIN)/python -m pytest tests/service/test_console_in_chromium.py

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz $(FUZZ)

testssl: $(READY)
	$(BIN)/python -m pytest -m scan $(PYTEST_ARGS)

# The contract and service tests once more, with the fallbacks for the calls that only Linux has. The
# fallback for the paths of sockets takes 107 octets at most, so the temporary directory is a short one.
# A store in a database uses none of these calls.
PORTABLE ?= tests/contract tests/service
SPOOL_TESTS = $(patsubst %,tests/contract/test_%.py,claims drafts feeds spool_announcer spool_dead_writers spool_files spool_history spool_history_damage spool_log spool_place spool_watch)
portable: $(READY)
	EMAILRELAY_PORTABLE=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --basetemp="$$(mktemp -d /tmp/er.XXXXXX)/t" \
		-k "not postgres and not pooled and not several and not database" $(PORTABLE)

check: lint types imports package test
	$(MAKE) portable PORTABLE="$(SPOOL_TESTS)"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy
	$(BIN)/pyright

imports: $(READY)
	$(BIN)/lint-imports

# The wheel is made from the sdist. Its commands must run with nothing else installed, and find its data files.
package: $(READY)
	rm -rf dist $(TRIAL)
	$(BIN)/python -m build --quiet
	$(BIN)/check-wheel-contents dist/*.whl
	$(BIN)/python -m venv $(TRIAL)
	$(TRIAL)/bin/python -m pip install --quiet dist/*.whl
	cd $(TRIAL) && for service in receiver filterd forwarder; do bin/emailrelay-$$service --version || exit 1; done
	diff -r --exclude=Procfile deploy $(TRIAL)/share/emailrelay
	diff Procfile $(TRIAL)/share/emailrelay/Procfile
	diff -r docs/man $(TRIAL)/share/man
	for shell in bash-completion fish zsh; do diff -r docs/completion/$$shell $(TRIAL)/share/$$shell || exit 1; done
	$(TRIAL)/bin/emailrelay-setup --undo --dry-run >/dev/null

docs: $(READY)
	$(BIN)/python -m docs.generate

# Needs root, and Debian's packages postfix and strace (make peers).
bench: $(READY)
	$(BIN)/python -m bench --short

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "E-MailRelay needs Python 3.11 or later as '$(PYTHON)'; name another with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Installing E-MailRelay in .venv. The first time takes some minutes."
	@echo "1 of 4: make .venv, a place for Python packages"
	@$(PYTHON) -m venv .venv
	@echo "2 of 4: get a new pip, which installs packages"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@echo "3 of 4: install E-MailRelay and the packages that it uses"
	@$(BIN)/python -m pip install --quiet --editable '.[console,dkim,fast,metrics,mx,oauth,postgres,procfile]'
	@echo "4 of 4: install the tools of its developers, for checks and tests"
	@$(BIN)/python -m pip install --quiet --group dev $(POSTGRES_SERVER)
	@touch $@

# For a machine that is for tests only: Debian starts mail servers that it installs. Postfix would ask what it is for, and wait.
peers:
	dpkg-query --show $(PEERS) >/dev/null 2>&1 || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $(PEERS) >/dev/null; }

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
