#!/bin/sh
# The first process of a machine in user-mode Linux, which sees the files of the host, read-only. NAME, ADDRESS (10.0.0.N) and
# HOST, the folder through which the host gives it work, come from the command line of its kernel. Its disk keeps what must
# outlive a loss of power: whose locks it knew, and on the server the folder that is shared.
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/run LC_ALL=C

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs mnt /mnt
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm
mount -t tmpfs shm /dev/shm
mkdir /run/host /run/lib /run/lib/lib /mnt/disk
mount -t hostfs host /run/host -o "$HOST"
exec >>/run/host/boot.log 2>&1

ln -s /usr/lib/uml/modules /run/lib/lib/modules
# Seconds: for how long the server of NFS 3 gives locks to those alone who had them when it was started; by default 50.
for module in ext4 sunrpc 'lockd nlm_grace_period=10' nfs nfsv3 nfsv4 nfsd; do
    # shellcheck disable=SC2086  # a module and its options
    modprobe -d /run/lib $module
done
mount -t ext4 /dev/ubda /mnt/disk || mount -t ext4 /dev/ubd0 /mnt/disk
[ -d /mnt/disk/nfs ] || cp -a /var/lib/nfs /mnt/disk/nfs
mount --bind /mnt/disk/nfs /var/lib/nfs

printf '127.0.0.1 localhost\n10.0.0.1 server\n10.0.0.2 first\n10.0.0.3 second\n' >/run/hosts
mount --bind /run/hosts /etc/hosts
hostname "$NAME"
ip link set lo up
ip address add "$ADDRESS/24" dev vec0
ip link set vec0 up

rpcbind -w
rpc.statd
if [ "$NAME" = server ]; then
    mkdir -p /mnt/disk/shared
    mount -t nfsd nfsd /proc/fs/nfsd
    # Seconds: for how long the locks of a client without a sign of life hold in NFS 4, and how long clients may take them again
    # after a start; by default 90.
    echo 10 >/proc/fs/nfsd/nfsv4leasetime
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    exportfs -o rw,sync,fsid=0,no_root_squash,no_subtree_check '*:/mnt/disk/shared'
    rpc.nfsd 8
    rpc.mountd
fi

number=0
while :; do
    if [ -e "/run/host/$number.sh" ]; then
        sh "/run/host/$number.sh" >"/run/host/$number.out" 2>"/run/host/$number.err"
        echo $? >"/run/host/$number.new"
        mv "/run/host/$number.new" "/run/host/$number.code"
        number=$((number + 1))
    else
        sleep 0.1
    fi
done
