package env

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// errLocked tells that somebody else holds a lock.
var errLocked = errors.New("locked by somebody else")

// tryLock locks a file, which it makes if needed. Closing the file unlocks it, as does the end of the process.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

// lock is tryLock that waits, and calls waiting once if it has to.
func lock(ctx context.Context, path string, waiting func()) (*os.File, error) {
	for told := false; ; told = true {
		file, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return file, err
		}
		if !told {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
