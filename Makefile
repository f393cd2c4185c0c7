# Two commands: `make lab` opens the lectures, `make test` runs every check.
# The work is done by tasks.py, so `python -m tasks lab` does the same where there is no make.
#   make lab ARGS="--no-browser --port 9000"     make test STAGE=unit     make test ARGS="--with torch"
# For the lecturer, `make slides` writes a slide deck of each lecture to build/slides.

# The first Python that really runs and is new enough: a name on the path may be an empty launcher.
PYTHON ?= $(shell for p in python3.11 python3 python; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
ifeq ($(strip $(PYTHON)),)
$(error dnnlab needs Python 3.11 or newer on the path; install it, or name one: make PYTHON=/path/to/python lab)
endif

.PHONY: lab test slides bench lock clean
lab slides bench lock clean:
	@$(PYTHON) -m tasks $@ $(ARGS)
test:
	@$(PYTHON) -m tasks test $(addprefix --stage ,$(STAGE)) $(ARGS)
