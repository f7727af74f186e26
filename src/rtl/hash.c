/* SPDX-License-Identifier: MIT */
/*
 * RtlCrc32 and RtlCrc64 by tables (see hash.h). Entry n of a table is the register after eight steps from n
 * alone; the unit test computes both tables again, bit by bit, from the polynomials.
 */
#include "rtl/hash.h"

static const ULONG RtlpCrc32Table[256] = {
    0x00000000, 0x77073096, 0xee0e612c, 0x990951ba, 0x076dc419, 0x706af48f, 0xe963a535, 0x9e6495a3,
    0x0edb8832, 0x79dcb8a4, 0xe0d5e91e, 0x97d2d988, 0x09b64c2b, 0x7eb17cbd, 0xe7b82d07, 0x90bf1d91,
    0x1db71064, 0x6ab020f2, 0xf3b97148, 0x84be41de, 0x1adad47d, 0x6ddde4eb, 0xf4d4b551, 0x83d385c7,
    0x136c9856, 0x646ba8c0, 0xfd62f97a, 0x8a65c9ec, 0x14015c4f, 0x63066cd9, 0xfa0f3d63, 0x8d080df5,
    0x3b6e20c8, 0x4c69105e, 0xd56041e4, 0xa2677172, 0x3c03e4d1, 0x4b04d447, 0xd20d85fd, 0xa50ab56b,
    0x35b5a8fa, 0x42b2986c, 0xdbbbc9d6, 0xacbcf940, 0x32d86ce3, 0x45df5c75, 0xdcd60dcf, 0xabd13d59,
    0x26d930ac, 0x51de003a, 0xc8d75180, 0xbfd06116, 0x21b4f4b5, 0x56b3c423, 0xcfba9599, 0xb8bda50f,
    0x2802b89e, 0x5f058808, 0xc60cd9b2, 0xb10be924, 0x2f6f7c87, 0x58684c11, 0xc1611dab, 0xb6662d3d,
    0x76dc4190, 0x01db7106, 0x98d220bc, 0xefd5102a, 0x71b18589, 0x06b6b51f, 0x9fbfe4a5, 0xe8b8d433,
    0x7807c9a2, 0x0f00f934, 0x9609a88e, 0xe10e9818, 0x7f6a0dbb, 0x086d3d2d, 0x91646c97, 0xe6635c01,
    0x6b6b51f4, 0x1c6c6162, 0x856530d8, 0xf262004e, 0x6c0695ed, 0x1b01a57b, 0x8208f4c1, 0xf50fc457,
    0x65b0d9c6, 0x12b7e950, 0x8bbeb8ea, 0xfcb9887c, 0x62dd1ddf, 0x15da2d49, 0x8cd37cf3, 0xfbd44c65,
    0x4db26158, 0x3ab551ce, 0xa3bc0074, 0xd4bb30e2, 0x4adfa541, 0x3dd895d7, 0xa4d1c46d, 0xd3d6f4fb,
    0x4369e96a, 0x346ed9fc, 0xad678846, 0xda60b8d0, 0x44042d73, 0x33031de5, 0xaa0a4c5f, 0xdd0d7cc9,
    0x5005713c, 0x270241aa, 0xbe0b1010, 0xc90c2086, 0x5768b525, 0x206f85b3, 0xb966d409, 0xce61e49f,
    0x5edef90e, 0x29d9c998, 0xb0d09822, 0xc7d7a8b4, 0x59b33d17, 0x2eb40d81, 0xb7bd5c3b, 0xc0ba6cad,
    0xedb88320, 0x9abfb3b6, 0x03b6e20c, 0x74b1d29a, 0xead54739, 0x9dd277af, 0x04db2615, 0x73dc1683,
    0xe3630b12, 0x94643b84, 0x0d6d6a3e, 0x7a6a5aa8, 0xe40ecf0b, 0x9309ff9d, 0x0a00ae27, 0x7d079eb1,
    0xf00f9344, 0x8708a3d2, 0x1e01f268, 0x6906c2fe, 0xf762575d, 0x806567cb, 0x196c3671, 0x6e6b06e7,
    0xfed41b76, 0x89d32be0, 0x10da7a5a, 0x67dd4acc, 0xf9b9df6f, 0x8ebeeff9, 0x17b7be43, 0x60b08ed5,
    0xd6d6a3e8, 0xa1d1937e, 0x38d8c2c4, 0x4fdff252, 0xd1bb67f1, 0xa6bc5767, 0x3fb506dd, 0x48b2364b,
    0xd80d2bda, 0xaf0a1b4c, 0x36034af6, 0x41047a60, 0xdf60efc3, 0xa867df55, 0x316e8eef, 0x4669be79,
    0xcb61b38c, 0xbc66831a, 0x256fd2a0, 0x5268e236, 0xcc0c7795, 0xbb0b4703, 0x220216b9, 0x5505262f,
    0xc5ba3bbe, 0xb2bd0b28, 0x2bb45a92, 0x5cb36a04, 0xc2d7ffa7, 0xb5d0cf31, 0x2cd99e8b, 0x5bdeae1d,
    0x9b64c2b0, 0xec63f226, 0x756aa39c, 0x026d930a, 0x9c0906a9, 0xeb0e363f, 0x72076785, 0x05005713,
    0x95bf4a82, 0xe2b87a14, 0x7bb12bae, 0x0cb61b38, 0x92d28e9b, 0xe5d5be0d, 0x7cdcefb7, 0x0bdbdf21,
    0x86d3d2d4, 0xf1d4e242, 0x68ddb3f8, 0x1fda836e, 0x81be16cd, 0xf6b9265b, 0x6fb077e1, 0x18b74777,
    0x88085ae6, 0xff0f6a70, 0x66063bca, 0x11010b5c, 0x8f659eff, 0xf862ae69, 0x616bffd3, 0x166ccf45,
    0xa00ae278, 0xd70dd2ee, 0x4e048354, 0x3903b3c2, 0xa7672661, 0xd06016f7, 0x4969474d, 0x3e6e77db,
    0xaed16a4a, 0xd9d65adc, 0x40df0b66, 0x37d83bf0, 0xa9bcae53, 0xdebb9ec5, 0x47b2cf7f, 0x30b5ffe9,
    0xbdbdf21c, 0xcabac28a, 0x53b39330, 0x24b4a3a6, 0xbad03605, 0xcdd70693, 0x54de5729, 0x23d967bf,
    0xb3667a2e, 0xc4614ab8, 0x5d681b02, 0x2a6f2b94, 0xb40bbe37, 0xc30c8ea1, 0x5a05df1b, 0x2d02ef8d,
};

static const ULONG64 RtlpCrc64Table[256] = {
    0x0000000000000000ull, 0x0809e8a2969451e9ull, 0x1013d1452d28a3d2ull, 0x181a39e7bbbcf23bull,
    0x2027a28a5a5147a4ull, 0x282e4a28ccc5164dull, 0x303473cf7779e476ull, 0x383d9b6de1edb59full,
    0x404f4514b4a28f48ull, 0x4846adb62236dea1ull, 0x505c9451998a2c9aull, 0x58557cf30f1e7d73ull,
    0x6068e79eeef3c8ecull, 0x68610f3c78679905ull, 0x707b36dbc3db6b3eull, 0x7872de79554f3ad7ull,
    0x809e8a2969451e90ull, 0x8897628bffd14f79ull, 0x908d5b6c446dbd42ull, 0x9884b3ced2f9ecabull,
    0xa0b928a333145934ull, 0xa8b0c001a58008ddull, 0xb0aaf9e61e3cfae6ull, 0xb8a3114488a8ab0full,
    0xc0d1cf3ddde791d8ull, 0xc8d8279f4b73c031ull, 0xd0c21e78f0cf320aull, 0xd8cbf6da665b63e3ull,
    0xe0f66db787b6d67cull, 0xe8ff851511228795ull, 0xf0e5bcf2aa9e75aeull, 0xf8ec54503c0a2447ull,
    0x24b1909974c84e69ull, 0x2cb8783be25c1f80ull, 0x34a241dc59e0edbbull, 0x3caba97ecf74bc52ull,
    0x049632132e9909cdull, 0x0c9fdab1b80d5824ull, 0x1485e35603b1aa1full, 0x1c8c0bf49525fbf6ull,
    0x64fed58dc06ac121ull, 0x6cf73d2f56fe90c8ull, 0x74ed04c8ed4262f3ull, 0x7ce4ec6a7bd6331aull,
    0x44d977079a3b8685ull, 0x4cd09fa50cafd76cull, 0x54caa642b7132557ull, 0x5cc34ee0218774beull,
    0xa42f1ab01d8d50f9ull, 0xac26f2128b190110ull, 0xb43ccbf530a5f32bull, 0xbc352357a631a2c2ull,
    0x8408b83a47dc175dull, 0x8c015098d14846b4ull, 0x941b697f6af4b48full, 0x9c1281ddfc60e566ull,
    0xe4605fa4a92fdfb1ull, 0xec69b7063fbb8e58ull, 0xf4738ee184077c63ull, 0xfc7a664312932d8aull,
    0xc447fd2ef37e9815ull, 0xcc4e158c65eac9fcull, 0xd4542c6bde563bc7ull, 0xdc5dc4c948c26a2eull,
    0x49632132e9909cd2ull, 0x416ac9907f04cd3bull, 0x5970f077c4b83f00ull, 0x517918d5522c6ee9ull,
    0x694483b8b3c1db76ull, 0x614d6b1a25558a9full, 0x795752fd9ee978a4ull, 0x715eba5f087d294dull,
    0x092c64265d32139aull, 0x01258c84cba64273ull, 0x193fb563701ab048ull, 0x11365dc1e68ee1a1ull,
    0x290bc6ac0763543eull, 0x21022e0e91f705d7ull, 0x391817e92a4bf7ecull, 0x3111ff4bbcdfa605ull,
    0xc9fdab1b80d58242ull, 0xc1f443b91641d3abull, 0xd9ee7a5eadfd2190ull, 0xd1e792fc3b697079ull,
    0xe9da0991da84c5e6ull, 0xe1d3e1334c10940full, 0xf9c9d8d4f7ac6634ull, 0xf1c03076613837ddull,
    0x89b2ee0f34770d0aull, 0x81bb06ada2e35ce3ull, 0x99a13f4a195faed8ull, 0x91a8d7e88fcbff31ull,
    0xa9954c856e264aaeull, 0xa19ca427f8b21b47ull, 0xb9869dc0430ee97cull, 0xb18f7562d59ab895ull,
    0x6dd2b1ab9d58d2bbull, 0x65db59090bcc8352ull, 0x7dc160eeb0707169ull, 0x75c8884c26e42080ull,
    0x4df51321c709951full, 0x45fcfb83519dc4f6ull, 0x5de6c264ea2136cdull, 0x55ef2ac67cb56724ull,
    0x2d9df4bf29fa5df3ull, 0x25941c1dbf6e0c1aull, 0x3d8e25fa04d2fe21ull, 0x3587cd589246afc8ull,
    0x0dba563573ab1a57ull, 0x05b3be97e53f4bbeull, 0x1da987705e83b985ull, 0x15a06fd2c817e86cull,
    0xed4c3b82f41dcc2bull, 0xe545d32062899dc2ull, 0xfd5feac7d9356ff9ull, 0xf55602654fa13e10ull,
    0xcd6b9908ae4c8b8full, 0xc56271aa38d8da66ull, 0xdd78484d8364285dull, 0xd571a0ef15f079b4ull,
    0xad037e9640bf4363ull, 0xa50a9634d62b128aull, 0xbd10afd36d97e0b1ull, 0xb5194771fb03b158ull,
    0x8d24dc1c1aee04c7ull, 0x852d34be8c7a552eull, 0x9d370d5937c6a715ull, 0x953ee5fba152f6fcull,
    0x92c64265d32139a4ull, 0x9acfaac745b5684dull, 0x82d59320fe099a76ull, 0x8adc7b82689dcb9full,
    0xb2e1e0ef89707e00ull, 0xbae8084d1fe42fe9ull, 0xa2f231aaa458ddd2ull, 0xaafbd90832cc8c3bull,
    0xd28907716783b6ecull, 0xda80efd3f117e705ull, 0xc29ad6344aab153eull, 0xca933e96dc3f44d7ull,
    0xf2aea5fb3dd2f148ull, 0xfaa74d59ab46a0a1ull, 0xe2bd74be10fa529aull, 0xeab49c1c866e0373ull,
    0x1258c84cba642734ull, 0x1a5120ee2cf076ddull, 0x024b1909974c84e6ull, 0x0a42f1ab01d8d50full,
    0x327f6ac6e0356090ull, 0x3a76826476a13179ull, 0x226cbb83cd1dc342ull, 0x2a6553215b8992abull,
    0x52178d580ec6a87cull, 0x5a1e65fa9852f995ull, 0x42045c1d23ee0baeull, 0x4a0db4bfb57a5a47ull,
    0x72302fd25497efd8ull, 0x7a39c770c203be31ull, 0x6223fe9779bf4c0aull, 0x6a2a1635ef2b1de3ull,
    0xb677d2fca7e977cdull, 0xbe7e3a5e317d2624ull, 0xa66403b98ac1d41full, 0xae6deb1b1c5585f6ull,
    0x96507076fdb83069ull, 0x9e5998d46b2c6180ull, 0x8643a133d09093bbull, 0x8e4a49914604c252ull,
    0xf63897e8134bf885ull, 0xfe317f4a85dfa96cull, 0xe62b46ad3e635b57ull, 0xee22ae0fa8f70abeull,
    0xd61f3562491abf21ull, 0xde16ddc0df8eeec8ull, 0xc60ce42764321cf3ull, 0xce050c85f2a64d1aull,
    0x36e958d5ceac695dull, 0x3ee0b077583838b4ull, 0x26fa8990e384ca8full, 0x2ef3613275109b66ull,
    0x16cefa5f94fd2ef9ull, 0x1ec712fd02697f10ull, 0x06dd2b1ab9d58d2bull, 0x0ed4c3b82f41dcc2ull,
    0x76a61dc17a0ee615ull, 0x7eaff563ec9ab7fcull, 0x66b5cc84572645c7ull, 0x6ebc2426c1b2142eull,
    0x5681bf4b205fa1b1ull, 0x5e8857e9b6cbf058ull, 0x46926e0e0d770263ull, 0x4e9b86ac9be3538aull,
    0xdba563573ab1a576ull, 0xd3ac8bf5ac25f49full, 0xcbb6b212179906a4ull, 0xc3bf5ab0810d574dull,
    0xfb82c1dd60e0e2d2ull, 0xf38b297ff674b33bull, 0xeb9110984dc84100ull, 0xe398f83adb5c10e9ull,
    0x9bea26438e132a3eull, 0x93e3cee118877bd7ull, 0x8bf9f706a33b89ecull, 0x83f01fa435afd805ull,
    0xbbcd84c9d4426d9aull, 0xb3c46c6b42d63c73ull, 0xabde558cf96ace48ull, 0xa3d7bd2e6ffe9fa1ull,
    0x5b3be97e53f4bbe6ull, 0x533201dcc560ea0full, 0x4b28383b7edc1834ull, 0x4321d099e84849ddull,
    0x7b1c4bf409a5fc42ull, 0x7315a3569f31adabull, 0x6b0f9ab1248d5f90ull, 0x63067213b2190e79ull,
    0x1b74ac6ae75634aeull, 0x137d44c871c26547ull, 0x0b677d2fca7e977cull, 0x036e958d5ceac695ull,
    0x3b530ee0bd07730aull, 0x335ae6422b9322e3ull, 0x2b40dfa5902fd0d8ull, 0x2349370706bb8131ull,
    0xff14f3ce4e79eb1full, 0xf71d1b6cd8edbaf6ull, 0xef07228b635148cdull, 0xe70eca29f5c51924ull,
    0xdf3351441428acbbull, 0xd73ab9e682bcfd52ull, 0xcf20800139000f69ull, 0xc72968a3af945e80ull,
    0xbf5bb6dafadb6457ull, 0xb7525e786c4f35beull, 0xaf48679fd7f3c785ull, 0xa7418f3d4167966cull,
    0x9f7c1450a08a23f3ull, 0x9775fcf2361e721aull, 0x8f6fc5158da28021ull, 0x87662db71b36d1c8ull,
    0x7f8a79e7273cf58full, 0x77839145b1a8a466ull, 0x6f99a8a20a14565dull, 0x679040009c8007b4ull,
    0x5faddb6d7d6db22bull, 0x57a433cfebf9e3c2ull, 0x4fbe0a28504511f9ull, 0x47b7e28ac6d14010ull,
    0x3fc53cf3939e7ac7ull, 0x37ccd451050a2b2eull, 0x2fd6edb6beb6d915ull, 0x27df0514282288fcull,
    0x1fe29e79c9cf3d63ull, 0x17eb76db5f5b6c8aull, 0x0ff14f3ce4e79eb1ull, 0x07f8a79e7273cf58ull,
};

ULONG NTAPI RtlCrc32(const VOID *Buffer, SIZE_T Size, ULONG InitialCrc)
{
    const UCHAR *Bytes = Buffer;
    ULONG Register = ~InitialCrc;

    for (SIZE_T Index = 0; Index < Size; Index += 1)
    {
        Register = Register >> 8 ^ RtlpCrc32Table[(Register ^ Bytes[Index]) & 0xff];
    }

    return ~Register;
}

ULONGLONG NTAPI RtlCrc64(const VOID *Buffer, SIZE_T Size, ULONGLONG InitialCrc)
{
    const UCHAR *Bytes = Buffer;
    ULONGLONG Register = InitialCrc;

    for (SIZE_T Index = 0; Index < Size; Index += 1)
    {
        Register = Register >> 8 ^ RtlpCrc64Table[(Register ^ Bytes[Index]) & 0xff];
    }

    return Register;
}
