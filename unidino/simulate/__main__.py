from .datasets import main

main()
