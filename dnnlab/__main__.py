"""`python -m dnnlab`."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="dnnlab")
