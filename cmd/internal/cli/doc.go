// Package cli is what the command lines of this module's servers have in common: how a kubeconfig is read, how mistakes are
// told, and the flags that every server has. What a flag is called and means is the same everywhere.
package cli
