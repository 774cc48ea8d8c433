# Compiles the Vulkan shaders to SPIR-V in headers, and lists these in vulkan_shaders.inc. Without the compiler or Vulkan's
# headers, the backend is left out. Sets ZI_VULKAN.
find_program(ZI_GLSLANG NAMES glslangValidator glslang)
find_path(ZI_VULKAN_HEADERS vulkan/vulkan.h)
set(ZI_VULKAN OFF)
if(ZI_GLSLANG AND ZI_VULKAN_HEADERS AND NOT ZI_OPS_ONLY)
  set(ZI_VULKAN ON)
elseif(NOT ZI_OPS_ONLY)
  message(STATUS "Without Vulkan: it takes its headers (Debian: libvulkan-dev) and glslangValidator (glslang-tools)")
endif()

set(ZI_SHADER_FOLDER ${PROJECT_SOURCE_DIR}/src/backend/vulkan/shaders)
set(ZI_SHADER_OUTPUT ${PROJECT_BINARY_DIR}/shaders)
file(GLOB ZI_SHADER_INCLUDES CONFIGURE_DEPENDS ${ZI_SHADER_FOLDER}/*.glsl)
file(GLOB ZI_SHADER_SOURCES CONFIGURE_DEPENDS ${ZI_SHADER_FOLDER}/*.comp)

# Sets VARIABLE to whether the compiler knows a GLSL extension and the headers one of Vulkan's. If not, says that the build is
# without `what`, and leaves out the shaders whose paths match `shaders`.
function(zi_find_shader_feature variable what glsl header shaders)
  set(${variable} OFF PARENT_SCOPE)
  if(NOT ZI_VULKAN)
    return()
  endif()
  file(WRITE ${ZI_SHADER_OUTPUT}/try.comp "#version 460\n#extension ${glsl} : require\nvoid main() {}\n")
  execute_process(COMMAND ${ZI_GLSLANG} -V --target-env vulkan1.2 -o ${ZI_SHADER_OUTPUT}/try.spv ${ZI_SHADER_OUTPUT}/try.comp
                  RESULT_VARIABLE result OUTPUT_QUIET ERROR_QUIET)
  file(STRINGS ${ZI_VULKAN_HEADERS}/vulkan/vulkan_core.h defined REGEX "define ${header} 1")
  if(result EQUAL 0 AND defined)
    set(${variable} ON PARENT_SCOPE)
    return()
  endif()
  message(STATUS "Vulkan without ${what}: its headers or glslangValidator do not know them")
  list(FILTER ZI_SHADER_SOURCES EXCLUDE REGEX ${shaders})
  set(ZI_SHADER_SOURCES ${ZI_SHADER_SOURCES} PARENT_SCOPE)
endfunction()

# Debian 13's compiler and headers know cooperative matrices. Shaders with integer dot products name an instruction of SPIR-V.
zi_find_shader_feature(ZI_MATRIX_SHADERS "cooperative matrices" GL_KHR_cooperative_matrix VK_KHR_cooperative_matrix
                       "_matrix.comp$")
zi_find_shader_feature(ZI_DOT_SHADERS "integer dot products" GL_EXT_spirv_intrinsics VK_KHR_shader_integer_dot_product
                       "/(linear_dots|quantize).comp$")
if(ZI_VULKAN)
  foreach(source ${ZI_SHADER_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    set(header ${ZI_SHADER_OUTPUT}/${name}.h)
    add_custom_command(OUTPUT ${header}
        COMMAND ${ZI_GLSLANG} -V --quiet --target-env vulkan1.2 -I${ZI_SHADER_FOLDER} --vn ${name}_spv -o ${header} ${source}
        DEPENDS ${source} ${ZI_SHADER_INCLUDES} VERBATIM)
    list(APPEND ZI_SHADER_HEADERS ${header})
    string(APPEND ZI_SHADER_LIST "#include \"${name}.h\"\n")
  endforeach()
  file(CONFIGURE OUTPUT ${ZI_SHADER_OUTPUT}/vulkan_shaders.inc CONTENT "${ZI_SHADER_LIST}" @ONLY)
endif()
