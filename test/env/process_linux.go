package env

import "syscall"

// childAttributes puts a child in a process group of its own and has the kernel kill it with its parent thread.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
