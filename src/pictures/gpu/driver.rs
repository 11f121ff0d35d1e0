//! NVIDIA's driver, loaded when it is asked for: memory of the device, streams and a kernel.
//!
//! It is the driver that ONNX Runtime uses too, with the device's one context, so that both share the device's memory.
#![allow(unsafe_code, reason = "C functions")]

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::slice;
use std::sync::Arc;

use libloading::Library;

use super::GpuError;

/// The kernel, as text that ends with a zero byte.
const KERNEL: &str = concat!(include_str!("resample.ptx"), "\0");

/// Threads of a block of the kernel.
const BLOCK: c_uint = 256;

/// Blocks of the kernel for each picture; its threads go on where there are more pixels.
const BLOCKS: c_uint = 64;

/// An address of the library's, which means nothing here.
pub(super) type Handle = *mut c_void;

/// What `call` gave, as an error unless it is zero.
pub(super) fn check(call: &'static str, status: c_int) -> Result<(), GpuError> {
    match status {
        0 => Ok(()),
        status => Err(GpuError::Call { call, status }),
    }
}

/// A function of a library.
///
/// # Safety
/// `name` must be a function of type `F`.
pub(super) unsafe fn function<F: Copy>(
    library: &Library,
    name: &str,
) -> Result<F, libloading::Error> {
    // SAFETY: as the caller promises.
    let found = unsafe { library.get::<F>(name.as_bytes()) }?;
    Ok(*found)
}

/// The driver with the context of one device.
pub(super) struct Driver {
    context: Handle,
    kernel: Handle,
    functions: Functions,
}

// SAFETY: the driver may be called from any thread; its handles belong to none.
unsafe impl Send for Driver {}
// SAFETY: as above.
unsafe impl Sync for Driver {}

struct Functions {
    set_context: unsafe extern "C" fn(Handle) -> c_int,
    allocate: unsafe extern "C" fn(*mut u64, usize) -> c_int,
    free: unsafe extern "C" fn(u64) -> c_int,
    allocate_host: unsafe extern "C" fn(*mut *mut c_void, usize, c_uint) -> c_int,
    free_host: unsafe extern "C" fn(*mut c_void) -> c_int,
    create_stream: unsafe extern "C" fn(*mut Handle, c_uint) -> c_int,
    destroy_stream: unsafe extern "C" fn(Handle) -> c_int,
    synchronize: unsafe extern "C" fn(Handle) -> c_int,
    to_device: unsafe extern "C" fn(u64, *const c_void, usize, Handle) -> c_int,
    from_device: unsafe extern "C" fn(*mut c_void, u64, usize, Handle) -> c_int,
    #[allow(clippy::type_complexity)]
    launch: unsafe extern "C" fn(
        Handle,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        Handle,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> c_int,
    /// Keeps the functions where they are.
    _library: Library,
}

impl Driver {
    /// Loads the driver, makes `device` ready and compiles the kernel for it.
    pub(super) fn load(device: i32) -> Result<Self, GpuError> {
        const NAME: &str = "libcuda.so.1";
        let missing = |source| GpuError::Library {
            library: NAME,
            hint: "it comes with NVIDIA's driver",
            source,
        };
        // SAFETY: the driver has nothing that runs when it is loaded and could do harm. The types of its functions are
        // those of `cuda.h`, where a function with `_v2` has its name without it.
        unsafe {
            let library = Library::new(NAME).map_err(missing)?;
            let init: unsafe extern "C" fn(c_uint) -> c_int =
                function(&library, "cuInit").map_err(missing)?;
            let get: unsafe extern "C" fn(*mut c_int, c_int) -> c_int =
                function(&library, "cuDeviceGet").map_err(missing)?;
            let retain: unsafe extern "C" fn(*mut Handle, c_int) -> c_int =
                function(&library, "cuDevicePrimaryCtxRetain").map_err(missing)?;
            let load: unsafe extern "C" fn(*mut Handle, *const c_void) -> c_int =
                function(&library, "cuModuleLoadData").map_err(missing)?;
            let find: unsafe extern "C" fn(*mut Handle, Handle, *const u8) -> c_int =
                function(&library, "cuModuleGetFunction").map_err(missing)?;
            let functions = Functions {
                set_context: function(&library, "cuCtxSetCurrent").map_err(missing)?,
                allocate: function(&library, "cuMemAlloc_v2").map_err(missing)?,
                free: function(&library, "cuMemFree_v2").map_err(missing)?,
                allocate_host: function(&library, "cuMemHostAlloc").map_err(missing)?,
                free_host: function(&library, "cuMemFreeHost").map_err(missing)?,
                create_stream: function(&library, "cuStreamCreate").map_err(missing)?,
                destroy_stream: function(&library, "cuStreamDestroy_v2").map_err(missing)?,
                synchronize: function(&library, "cuStreamSynchronize").map_err(missing)?,
                to_device: function(&library, "cuMemcpyHtoDAsync_v2").map_err(missing)?,
                from_device: function(&library, "cuMemcpyDtoHAsync_v2").map_err(missing)?,
                launch: function(&library, "cuLaunchKernel").map_err(missing)?,
                _library: library,
            };
            let mut number = 0;
            check("cuInit", init(0))?;
            check("cuDeviceGet", get(&mut number, device))?;
            let mut driver = Driver {
                context: null_mut(),
                kernel: null_mut(),
                functions,
            };
            // Kept as long as the program runs, as ONNX Runtime keeps it.
            check(
                "cuDevicePrimaryCtxRetain",
                retain(&mut driver.context, number),
            )?;
            driver.enter()?;
            let mut module = null_mut();
            check(
                "cuModuleLoadData",
                load(&mut module, KERNEL.as_ptr().cast()),
            )?;
            check(
                "cuModuleGetFunction",
                find(&mut driver.kernel, module, c"resample".as_ptr().cast()),
            )?;
            Ok(driver)
        }
    }

    /// Makes the device that of this thread. All that follows needs it.
    pub(super) fn enter(&self) -> Result<(), GpuError> {
        // SAFETY: the context lives as long as the program.
        check("cuCtxSetCurrent", unsafe {
            (self.functions.set_context)(self.context)
        })
    }
}

/// Memory of the device that grows as it is needed.
pub(super) struct DeviceMemory {
    driver: Arc<Driver>,
    address: u64,
    len: usize,
}

impl DeviceMemory {
    pub(super) fn new(driver: &Arc<Driver>) -> Self {
        DeviceMemory {
            driver: driver.clone(),
            address: 0,
            len: 0,
        }
    }

    /// Makes sure that there are `len` bytes, whose content may be lost; gives their address. Nothing may be at work on
    /// the memory.
    pub(super) fn reserve(&mut self, len: usize) -> Result<u64, GpuError> {
        if len > self.len {
            self.free();
            // A quarter more, so that pictures that grow little by little do not cost an allocation each.
            let len = len + len / 4;
            // SAFETY: writes an address to where it may.
            check("cuMemAlloc", unsafe {
                (self.driver.functions.allocate)(&mut self.address, len)
            })?;
            self.len = len;
        }
        Ok(self.address)
    }

    fn free(&mut self) {
        if self.len > 0 {
            // SAFETY: the memory was allocated by the same driver and is freed once.
            unsafe { (self.driver.functions.free)(self.address) };
            self.len = 0;
        }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.driver.enter().is_ok() {
            self.free();
        }
    }
}

/// Memory of the host that the device writes to by itself.
pub(super) struct PinnedMemory {
    driver: Arc<Driver>,
    address: *mut c_void,
    len: usize,
}

// SAFETY: it is memory as any other, and has one owner.
unsafe impl Send for PinnedMemory {}

impl PinnedMemory {
    pub(super) fn new(driver: &Arc<Driver>) -> Self {
        PinnedMemory {
            driver: driver.clone(),
            address: null_mut(),
            len: 0,
        }
    }

    /// Makes sure that there are `len` bytes, whose content may be lost.
    fn reserve(&mut self, len: usize) -> Result<(), GpuError> {
        if len > self.len {
            self.free();
            // SAFETY: writes an address to where it may.
            check("cuMemHostAlloc", unsafe {
                (self.driver.functions.allocate_host)(&mut self.address, len, 0)
            })?;
            self.len = len;
            // SAFETY: the memory is there, and now every byte of it has a value.
            unsafe { self.address.cast::<u8>().write_bytes(0, len) };
        }
        Ok(())
    }

    fn free(&mut self) {
        if self.len > 0 {
            // SAFETY: the memory was allocated by the same driver and is freed once.
            unsafe { (self.driver.functions.free_host)(self.address) };
            self.len = 0;
        }
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        if self.driver.enter().is_ok() {
            self.free();
        }
    }
}

/// What the device does in order.
pub(super) struct Stream {
    driver: Arc<Driver>,
    handle: Handle,
}

// SAFETY: a stream may be used from any thread, one at a time.
unsafe impl Send for Stream {}

impl Stream {
    pub(super) fn new(driver: &Arc<Driver>) -> Result<Self, GpuError> {
        /// Does not wait for what the default stream does.
        const NON_BLOCKING: c_uint = 1;
        let mut handle = null_mut();
        // SAFETY: writes a handle to where it may.
        check("cuStreamCreate", unsafe {
            (driver.functions.create_stream)(&mut handle, NON_BLOCKING)
        })?;
        Ok(Stream {
            driver: driver.clone(),
            handle,
        })
    }

    /// For the calls of other libraries.
    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// Waits for all that was asked for.
    pub(super) fn synchronize(&self) -> Result<(), GpuError> {
        // SAFETY: the stream lives.
        check("cuStreamSynchronize", unsafe {
            (self.driver.functions.synchronize)(self.handle)
        })
    }

    /// Copies to the device. `bytes` are not looked at after this returns: of memory that is not pinned, the driver
    /// makes a copy first.
    pub(super) fn upload(&self, bytes: &[u8], to: &mut DeviceMemory) -> Result<u64, GpuError> {
        let address = to.reserve(bytes.len())?;
        // SAFETY: there is as much memory on both sides.
        check("cuMemcpyHtoDAsync", unsafe {
            (self.driver.functions.to_device)(
                address,
                bytes.as_ptr().cast(),
                bytes.len(),
                self.handle,
            )
        })?;
        Ok(address)
    }

    /// Waits for all that was asked for, and copies `len` bytes of `from` to the host.
    pub(super) fn download<'a>(
        &self,
        from: &DeviceMemory,
        len: usize,
        to: &'a mut PinnedMemory,
    ) -> Result<&'a [u8], GpuError> {
        assert!(len <= from.len, "the device has no {len} bytes there");
        to.reserve(len)?;
        // SAFETY: there is as much memory on both sides, and it is waited for before anyone looks.
        check("cuMemcpyDtoHAsync", unsafe {
            (self.driver.functions.from_device)(to.address, from.address, len, self.handle)
        })?;
        self.synchronize()?;
        // SAFETY: `len` bytes are there, and nobody writes while they are borrowed.
        Ok(unsafe { slice::from_raw_parts(to.address.cast(), len) })
    }

    /// Runs the kernel on `count` passes at `passes`.
    ///
    /// # Safety
    /// The passes must be on the device, and name memory of it that is there until the stream has been waited for.
    pub(super) unsafe fn resample(&self, passes: u64, count: usize) -> Result<(), GpuError> {
        let count = c_uint::try_from(count).expect("a batch is small");
        let mut passes = passes;
        let mut parameters = [(&raw mut passes).cast::<c_void>()];
        // SAFETY: the kernel takes one address; the rest is as the caller promises.
        check("cuLaunchKernel", unsafe {
            (self.driver.functions.launch)(
                self.driver.kernel,
                BLOCKS,
                count,
                1,
                BLOCK,
                1,
                1,
                0,
                self.handle,
                parameters.as_mut_ptr(),
                null_mut(),
            )
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.driver.enter().is_ok() {
            // SAFETY: the stream was created by the same driver and is destroyed once.
            unsafe { (self.driver.functions.destroy_stream)(self.handle) };
        }
    }
}
