# The ROS wheels from PyPI export include folders of generated Python targets that the wheels do not carry, and CMake
# refuses to link against a target with an include folder that is not there. Python extension modules need none of
# them, so drop those that are missing. In a ROS distribution all of them exist and this changes nothing.
# Call it after find_package() of the message packages and before rosidl_generate_interfaces().
function(drop_missing_include_directories)
  get_property(imported_targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported_targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(NOT target MATCHES "__rosidl_generator_py$" OR NOT folders)
      continue()
    endif()
    set(kept "")
    foreach(folder IN LISTS folders)
      if(folder MATCHES "\\$<" OR EXISTS "${folder}")
        list(APPEND kept "${folder}")
      endif()
    endforeach()
    set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${kept}")
  endforeach()
endfunction()
