"""The network-namespace lab: real services, real NATs and the real Postern binaries on one machine.

Modules, in the order of reading:

    paths      where things are on disk
    debs       Debian programs the lab needs, unpacked under build/ and never installed
    topology   hosts, links, addresses and firewall rules, as data
    kernel     the few system calls Python has no name for
    init       the lab's process 1: makes the hosts and owns every long-running process in them
    testbed    the outside: start, attach to and stop a lab, run commands on its hosts
    services   nginx, sshd, PostgreSQL, DNS, each answering with the nonce of the run
    postern    the real Postern binaries, driven through their command lines only
"""
