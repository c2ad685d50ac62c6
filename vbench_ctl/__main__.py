from vbench_ctl.cli import main

main()
