// Package lab builds networks out of network namespaces for tests and demonstrations of lvsd: hosts, Ethernet
// segments, routers, real nginx servers, clients with a steady load, packet captures and faults.
//
// lvsd is about what the kernel does, so everything runs on a real kernel with IPVS. [Main] and [Run] look whether
// the running machine is fit for that: root, network namespaces, and IPVS in the kernel. If so, the tests run in
// place, each lab in namespaces of its own which vanish with it. If not, the same program is run again inside a
// small virtual machine with a distribution's own kernel, on top of the machine's own file system, and its output
// and exit status come back as if it had run in place. Nobody has to choose, and nothing is skipped.
//
// In the virtual machine every write to the file system goes to memory and is gone afterwards; what the test flags
// ask to be written (a coverage profile, a CPU profile) is carried out to the machine.
package lab
