"""The demo's benchmark client. Its name and arguments are those that are looked for in the list of processes."""

from waa.demo.runner import main

if __name__ == "__main__":
    main()
