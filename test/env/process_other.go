//go:build unix && !linux

package env

import "syscall"

// childAttributes puts a child in a process group of its own, which the reaper kills when this process dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
